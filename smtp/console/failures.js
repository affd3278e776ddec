// What fails while the page is looked at, in the words of the server that refused it: the event
// log, followed. Of a flood it shows a part: every follower costs the server what it reads.

import {element, explainLink, find, keyed, setAttribute, setText} from "./page.js";
import * as format from "./format.js";

const TYPES = {TransientFailure: "deferred", Bounce: "bounced"}; // a stream each
const KEPT = 25;
const FLOOD = 100; // records of a type in one go
const REST_MS = 5000; // after a flood, and when there is no answer

// The reply as it came: "550 5.1.1 no such user".
function reply(response) {
    const enhanced = response.enhanced_code;
    return [
        response.code,
        enhanced ? `${enhanced.class}.${enhanced.subject}.${enhanced.detail}` : null,
        response.content,
    ].filter((part) => part !== null && part !== "").join(" ");
}

// Calls `each` with every line of the stream, parsed, until it returns false.
async function lines(stream, each) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const {done, value} = await reader.read();
        if (done) {
            return;
        }
        const whole = (rest + value).split("\n");
        rest = whole.pop();
        if (!whole.every((line) => line === "" || each(JSON.parse(line)))) {
            return;
        }
    }
}

function row(record) {
    return element("li", {"data-type": record.type},
        element("time"), element("span", {class: "type"}, TYPES[record.type]),
        element("a", {class: "who", href: explainLink("queue", record.queue)},
            element("bdi", {}, format.shown(record.recipient))),
        element("q", {}, format.shown(reply(record.response))));
}

export class Failures {
    constructor() {
        this.records = [];
        this.serial = 0;
        this.waiting = false;
        this.followed = new Map(); // type → what stops it
        this.section = find("#failures");
        this.list = element("ul", {class: "failures"});
        this.empty = element("p", {class: "empty"}, "Nothing has failed since the page is open.");
        this.section.querySelector(".body").append(this.list, this.empty);
        document.addEventListener("visibilitychange", () => this.look());
        this.look();
    }

    // A hidden page follows nothing.
    look() {
        for (const type of Object.keys(TYPES)) {
            if (document.hidden) {
                this.followed.get(type)?.abort();
            } else if (!this.followed.has(type)) {
                this.follow(type);
            }
        }
    }

    async follow(type) {
        const stop = new AbortController();
        this.followed.set(type, stop);
        try {
            const answer = await fetch(
                `api/events/v1?type=${type}&follow=1`, {signal: stop.signal, cache: "no-store"});
            if (answer.ok) {
                await this.read(type, answer.body);
            }
        } catch {
            // How the server is stands on top of the page.
        }
        stop.abort();
        setAttribute(this.section, `data-follows-${type}`, "no");
        setTimeout(() => {
            this.followed.delete(type);
            this.look();
        }, REST_MS);
    }

    async read(type, body) {
        let begun = performance.now();
        let count = 0;
        setAttribute(this.section, `data-follows-${type}`, "yes");
        await lines(body, (record) => {
            const now = performance.now();
            if (now - begun > REST_MS) {
                begun = now;
                count = 0;
            }
            this.add(record);
            return ++count < FLOOD;
        });
    }

    add(record) {
        this.records.unshift({...record, key: String(this.serial++)});
        this.records.length = Math.min(this.records.length, KEPT);
        if (!this.waiting) {
            this.waiting = true; // of many in one moment the page shows the last
            requestAnimationFrame(() => this.show());
        }
    }

    show() {
        this.waiting = false;
        this.empty.hidden = this.records.length > 0;
        keyed(this.list, this.records, (record) => record.key, row, (made, record) => {
            const when = new Date(record.timestamp_ms ?? 1000 * record.timestamp);
            setText(made.querySelector("time"), format.moment(when, true));
        });
    }
}
