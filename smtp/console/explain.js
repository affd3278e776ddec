// Why does this mail not move? One queue, site, domain or recipient, asked for again while it is
// looked at. The address names it (#queue=, #domain=, #id=), so that it can be sent to others.

import {element, explainLink, find, keyed, setAttribute, setText, showBar} from "./page.js";
import {ask, Refused} from "./poll.js";
import * as format from "./format.js";
import {outlook, reasonName, verdict} from "./words.js";

const EVERY_MS = 2000;
const KINDS = {
    scheduled: "Queue", ready: "Site", domain: "All queues of the domain",
    recipient: "One recipient",
};
const ID = /^[0-9a-f]{32}$/i;

// --- what an explanation looks like

function limitText(limit) {
    return typeof limit.limit === "number" ? format.whole(limit.limit) : limit.limit;
}

function limitRow(limit) {
    return element("tr", {},
        element("th", {scope: "row"}, limit.kind,
            element("span", {class: "under"}, format.shown(limit.name))),
        element("td", {class: "number"}, limitText(limit)),
        element("td", {class: "number used"}),
        element("td", {class: "number again"}));
}

function limitKey(limit) {
    return `${limit.kind} ${limit.name}`;
}

function section(title, ...children) {
    return element("section", {}, element("h3", {}, title), ...children);
}

class Card {
    constructor(body) {
        this.verdict = element("p", {class: "verdict"});
        this.outlook = element("p", {class: "outlook"});
        this.facts = element("dl", {class: "facts"});
        this.bar = element("div", {class: "bar", "aria-hidden": "true"});
        this.times = element("ul", {class: "legend"});
        this.reply = element("blockquote");
        this.limits = element("tbody");
        this.parts = {
            times: section("Where its time went", this.bar, this.times),
            reply: section("What the site answered last", this.reply),
            limits: section("Limits",
                element("table", {},
                    element("thead", {}, element("tr", {},
                        element("th", {scope: "col"}, "Limit"),
                        element("th", {scope: "col", class: "number"}, "Allowed"),
                        element("th", {scope: "col", class: "number"}, "Used"),
                        element("th", {scope: "col", class: "number"}, "Free in"))),
                    this.limits)),
        };
        body.replaceChildren(this.verdict, this.outlook, this.facts, ...Object.values(this.parts));
    }

    show(said) {
        setAttribute(this.verdict, "data-reason", said.reason);
        setText(this.verdict, verdict(said));
        setText(this.outlook, outlook(said).join(" "));
        this.showFacts(said);
        this.showTimes(said.time_by_reason_ms);
        this.parts.reply.hidden = said.last_response === null;
        setText(this.reply, format.shown(said.last_response ?? ""));
        this.parts.limits.hidden = said.limits.length === 0;
        keyed(this.limits, said.limits, limitKey, limitRow, (row, limit) => {
            const full = typeof limit.limit === "number" && limit.used >= limit.limit;
            row.classList.toggle("full", full || limit.retry_in_ms > 0);
            setText(row.querySelector(".used"), format.whole(limit.used));
            setText(row.querySelector(".again"),
                limit.retry_in_ms > 0 ? format.length(limit.retry_in_ms) : "");
        });
    }

    showFacts(said) {
        const facts = [["Recipients", format.whole(said.count)], ["Due", format.whole(said.due)]];
        if (said.kind === "domain") {
            facts.push(["Queues", format.whole(said.queues)]);
        }
        if (said.queue !== null && said.queue !== said.name) {
            facts.push([said.kind === "domain" ? "The longest waiting" : "Queue", said.queue]);
        }
        if (said.site !== null && said.site !== said.name) {
            facts.push(["Site", said.site]);
        }
        keyed(this.facts, facts, ([label]) => label,
            ([label, text]) => element("div", {}, element("dt", {}, label),
                element("dd", {}, label === "Recipients" || label === "Due" || label === "Queues"
                    ? null : element("a", {}, ""))),
            (row, [, text]) => {
                const link = row.querySelector("a");
                if (link !== null) {
                    setAttribute(link, "href", explainLink("queue", text));
                }
                setText(link ?? row.querySelector("dd"), format.shown(text));
            });
    }

    showTimes(times) {
        const items = Object.entries(times).map(([reason, part]) => ({reason, part}))
            .sort((a, b) => b.part - a.part);
        const all = items.reduce((sum, item) => sum + item.part, 0);
        this.parts.times.hidden = all === 0;
        showBar(this.bar, items, all);
        keyed(this.times, items, (item) => item.reason,
            (item) => element("li", {}, element("span", {class: "swatch"}),
                element("span", {class: "label"}, reasonName(item.reason)),
                element("span", {class: "count"}), element("span", {class: "share"})),
            (row, item) => {
                setAttribute(row, "data-reason", item.reason);
                setText(row.querySelector(".count"), format.length(item.part));
                setText(row.querySelector(".share"), format.percent(item.part, all));
            });
    }
}

// --- the dialog

// {kind: "queue" | "domain" | "id", name}, or null
function subject() {
    const match = /^#(queue|domain|id)=(.+)$/.exec(location.hash);
    try {
        return match === null ? null : {kind: match[1], name: decodeURIComponent(match[2])};
    } catch {
        return null; // half an escape
    }
}

export class Explain {
    constructor() {
        this.dialog = find("#explain");
        this.body = this.dialog.querySelector(".body");
        this.title = this.dialog.querySelector("h2");
        this.kind = this.dialog.querySelector(".kind");
        this.card = null;
        this.asked = null;
        this.dialog.querySelector(".close").addEventListener("click", () => this.dialog.close());
        this.dialog.addEventListener("close", () => this.closed());
        this.dialog.addEventListener("click", (event) => {
            if (event.target === this.dialog) {
                this.dialog.close(); // beside it
            }
        });
        window.addEventListener("hashchange", () => this.open());
        find("#ask").addEventListener("submit", (event) => {
            event.preventDefault();
            this.search(find("#subject").value.trim());
        });
        this.open();
    }

    // An id, a queue of that name, or else the domain.
    async search(name) {
        if (name === "") {
            return;
        }
        let kind = ID.test(name) ? "id" : "queue";
        if (kind === "queue") {
            try {
                await ask(`api/admin/explain/v1?queue=${encodeURIComponent(name)}`);
            } catch (error) {
                kind = error.status === 404 ? "domain" : "queue";
            }
        }
        location.hash = explainLink(kind, name);
    }

    open() {
        const wanted = subject();
        clearTimeout(this.timer);
        this.asked = wanted;
        if (wanted === null) {
            this.dialog.close();
            return;
        }
        this.card = null;
        setText(this.kind, "");
        setText(this.title, format.shown(wanted.name));
        this.body.replaceChildren(element("p", {class: "empty"}, "asking the server"));
        if (!this.dialog.open) {
            this.dialog.showModal();
            this.title.focus();
        }
        this.look(wanted);
    }

    closed() {
        clearTimeout(this.timer);
        this.asked = null;
        if (subject() !== null) {
            history.replaceState(null, "", location.pathname + location.search);
        }
    }

    async look(wanted) {
        let said = null;
        let wrong = null;
        try {
            said = await ask(
                `api/admin/explain/v1?${wanted.kind}=${encodeURIComponent(wanted.name)}`);
        } catch (error) {
            wrong = error;
        }
        if (this.asked !== wanted) {
            return; // another one is looked at by now
        }
        if (said !== null) {
            this.card ??= new Card(this.body);
            setText(this.kind, KINDS[said.kind] ?? said.kind);
            this.card.show(said);
            this.dialog.classList.remove("old");
        } else if (wrong.status === 404) {
            this.card = null;
            this.body.replaceChildren(element("p", {class: "empty"}, "No mail of this name is " +
                "queued. It may have been delivered: ringpost events tells what became of it."));
        } else if (this.card === null) {
            this.body.replaceChildren(element("p", {class: "empty"},
                wrong instanceof Refused ? wrong.message : "The server does not answer."));
        } else {
            this.dialog.classList.add("old");
        }
        this.timer = setTimeout(() => this.look(wanted), document.hidden ? 20000 : EVERY_MS);
    }
}
