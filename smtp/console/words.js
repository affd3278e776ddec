// What the server's words for the state of a queue mean, in those of people.

import * as format from "./format.js";

// reason: [what a list says, why, in a sentence after "because"]
const REASONS = {
    none: ["moving", "nothing holds it"],
    empty: ["empty", "there is no mail in it"],
    not_due: ["not due yet", "all of its mail is deferred until its next attempt"],
    quiet_hours: ["other hours", "it may send at other hours only"],
    suspended_admin: ["suspended", "an operator has suspended it"],
    suspended_rule: ["suspended", "a rule of automation has suspended it"],
    connection_limit: ["connections in use", "all connections that it may have are in use"],
    connection_rate: ["connection rate", "connections may begin only so fast"],
    message_rate: ["message rate", "the site takes messages only so fast"],
    queue_rate: ["queue rate", "the queue, alone or with others, may send only so fast"],
    source_rate: ["source rate", "its sources may be chosen only so often"],
    no_source: ["no source", "no source of its pool can be sent from"],
    dns: ["no server known", "no server is known for it"],
    connect_failing: ["cannot connect", "its servers cannot be reached"],
    remote_slow: ["server is slow", "every connection waits for its server, and none answers"],
    ready_full: ["ready queue full", "as many messages as may be are under way already"],
    spool_unhealthy: ["spool in trouble", "outcomes cannot be stored: see the server's log"],
    memory: ["memory short", "there is no memory for a connection or a transfer"],
};

export function reasonName(reason) {
    return REASONS[reason]?.[0] ?? reason;
}

function isRate(limit) {
    return typeof limit.limit === "string";
}

// Which of its limits is it that the reason is about?
const LIMIT_KINDS = {
    connection_limit: (limit) => typeof limit.limit === "number" && limit.used >= limit.limit,
    connection_rate: (limit) => isRate(limit) && limit.kind.includes("connection"),
    message_rate: (limit) => isRate(limit) && limit.kind.includes("message"),
    queue_rate: (limit) => isRate(limit),
    source_rate: (limit) => isRate(limit) && limit.kind.includes("selection"),
};

function blamedLimit(said) {
    const fits = (said.limits ?? []).filter((limit) => LIMIT_KINDS[said.reason]?.(limit));
    return fits.sort((a, b) => b.retry_in_ms - a.retry_in_ms)[0] ?? null;
}

function limitName(limit, said) {
    if (limit.name === said.site || limit.name === said.name) {
        return limit.name === said.site ? "the site" : "the queue";
    }
    return `“${limit.name}”`;
}

function because(said) {
    const limit = blamedLimit(said);
    if (limit !== null && said.reason === "connection_limit") {
        const all = limit.limit === 1 ? "and it is in use" : "and all are in use";
        return `${limitName(limit, said)} allows ${format.whole(limit.limit)} ` +
            `connection${limit.limit === 1 ? "" : "s"} ${all}`;
    }
    if (limit !== null) {
        const what = said.reason === "connection_rate" ? "connections at" : "mail at";
        return `${limitName(limit, said)} takes ${what} ${limit.limit} and that is used up`;
    }
    return REASONS[said.reason]?.[1] ?? `of ${said.reason}`;
}

function date(text) {
    return text === null || text === undefined ? null : new Date(text);
}

// "in 4 min", "2 min ago"
function away(when, now = new Date()) {
    const ms = when - now;
    return Math.abs(ms) < 1000 ? "now"
        : ms > 0 ? `in ${format.length(ms)}` : `${format.length(-ms)} ago`;
}

function pointed(when) {
    return `${format.moment(when, true)} (${away(when)})`;
}

// The first line of an explanation: what it does, since when, and why.
export function verdict(said) {
    const since = date(said.since);
    const from = since === null ? "" : ` since ${format.moment(since)}`;
    switch (said.state) {
    case "moving":
        return `Moves${from}: nothing that is due waits.`;
    case "empty":
        return "Is empty: there is no mail in it.";
    case "suspended":
        return `Suspended${from}${said.detail ? `: “${said.detail}”` : ""}.`;
    default:
        return `Waits${from} because ${because(said)}.`;
    }
}

// What follows it: when it goes on, and how much there is.
export function outlook(said) {
    const until = date(said.until);
    const next = date(said.next_attempt);
    const lines = [];
    if (until !== null && said.state !== "moving") {
        lines.push(`May go on at ${pointed(until)}.`);
    }
    if (next !== null) {
        lines.push(`Next attempt at ${pointed(next)}.`);
    }
    if (said.attempts > 0) {
        lines.push(said.attempts === 1 ? "One attempt has been made."
            : `Up to ${format.whole(said.attempts)} attempts have been made.`);
    }
    if (said.state !== "suspended" && said.detail) {
        lines.push(`“${said.detail}”`);
    }
    return lines;
}
