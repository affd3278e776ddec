// The lists: why mail waits, the largest queues, the largest sites. A name leads to its
// explanation.

import {element, explainLink, find, keyed, setAttribute, setText, showBar} from "./page.js";
import * as format from "./format.js";
import {reasonName} from "./words.js";

const SHOWN = 25;
const STATE_ORDER = ["none", "not_due", "empty"]; // behind what really waits

export const QUEUES_PATH = `api/admin/queues/v1?kind=scheduled&limit=${SHOWN}`;
export const SITES_PATH = `api/admin/queues/v1?kind=ready&limit=${SHOWN}`;

// --- why mail waits

function rank(reason) {
    return STATE_ORDER.indexOf(reason) + 1;
}

function reasonRow(item) {
    return element("li", {},
        element("span", {class: "swatch"}),
        element("span", {class: "label"}, reasonName(item.reason)),
        element("span", {class: "count"}),
        element("span", {class: "share"}));
}

export class Reasons {
    constructor() {
        this.body = find("#reasons .body");
        this.bar = element("div", {class: "bar", "aria-hidden": "true"});
        this.list = element("ul", {class: "legend"});
        this.empty = element("p", {class: "empty"}, "No mail is queued.");
        this.body.append(this.bar, this.list, this.empty);
    }

    show(said) {
        const items = Object.entries(said.reasons)
            .map(([reason, {count}]) => ({reason, count}))
            .filter((item) => item.count > 0)
            .sort((a, b) => rank(a.reason) - rank(b.reason) || b.count - a.count);
        const all = items.reduce((sum, item) => sum + item.count, 0);
        this.bar.hidden = this.list.hidden = all === 0;
        this.empty.hidden = all > 0;
        showBar(this.bar, items.map(({reason, count}) => ({reason, part: count})), all);
        keyed(this.list, items, (item) => item.reason, reasonRow, (row, item) => {
            setAttribute(row, "data-reason", item.reason);
            setText(row.querySelector(".count"), format.whole(item.count));
            setText(row.querySelector(".share"), format.percent(item.count, all));
        });
    }
}

// --- queues and sites

function queueRow(kind) {
    return (queue) => {
        const name = kind === "ready" ? format.siteName(queue.name) : format.shown(queue.name);
        const row = element("tr", {},
            element("th", {scope: "row"},
                element("a", {href: explainLink("queue", queue.name), title: name},
                    element("bdi", {}, name)),
                kind === "scheduled" ? element("span", {class: "under"}) : null),
            element("td", {class: "number count"}),
            element("td", {class: "number due"}),
            element("td", {class: "why"},
                element("span", {class: "swatch"}), element("span", {class: "label"}),
                element("span", {class: "since"})));
        return row;
    };
}

export class List {
    constructor(id, kind) {
        this.kind = kind;
        this.counted = find(`#${id} .count`);
        const body = find(`#${id} .body`);
        this.rows = element("tbody");
        this.table = element("table", {},
            element("thead", {}, element("tr", {},
                element("th", {scope: "col"}, kind === "ready" ? "Site" : "Queue"),
                element("th", {scope: "col", class: "number"}, "Mail"),
                element("th", {scope: "col", class: "number"}, "Due"),
                element("th", {scope: "col"}, "State"))),
            this.rows);
        this.empty = element("p", {class: "empty"},
            kind === "ready" ? "No site has mail that is due." : "No queue has mail.");
        this.others = element("p", {class: "others"});
        body.append(this.table, this.empty, this.others);
    }

    update(row, queue) {
        setText(row.querySelector(".count"), format.whole(queue.count));
        setText(row.querySelector(".due"), format.whole(queue.due));
        setAttribute(row, "data-reason", queue.reason);
        setText(row.querySelector(".label"), reasonName(queue.reason));
        setText(row.querySelector(".since"),
            queue.since === null ? "" : `since ${format.moment(new Date(queue.since))}`);
        const under = row.querySelector(".under");
        if (under !== null) {
            setText(under, queue.site === null ? "" : format.siteName(queue.site));
        }
    }

    show(said) {
        const queues = said.queues.filter((queue) => queue.count > 0);
        const more = said.total_queues - said.queues.length;
        setText(this.counted, said.total_queues > 0 ? format.whole(said.total_queues) : "");
        this.table.hidden = queues.length === 0;
        this.empty.hidden = queues.length > 0;
        this.others.hidden = more <= 0 || said.others.count === 0;
        setText(this.others, `and ${format.whole(said.others.queues)} more with ` +
            `${format.whole(said.others.count)} recipients`);
        keyed(this.rows, queues, (queue) => queue.name, queueRow(this.kind),
            (row, queue) => this.update(row, queue));
    }
}
