// The page: what is asked for once a second, and where it is shown.

import {find, setAttribute, setText} from "./page.js";
import {ask, poll} from "./poll.js";
import * as format from "./format.js";
import {growth, lately, Samples, value} from "./samples.js";
import {Figures, flow, MEAN_OF} from "./figures.js";
import {Charts} from "./charts.js";
import {List, QUEUES_PATH, Reasons, SITES_PATH} from "./queues.js";
import {Failures} from "./failures.js";
import {Explain} from "./explain.js";

const TAKEN = "ringpost_recipients_received_total";
const DELIVERED = "ringpost_deliveries_total";
const DEFERRED = "ringpost_transient_failures_total";
const GIVEN_UP = [
    "ringpost_bounces_total", "ringpost_expirations_total", "ringpost_admin_bounces_total",
];
const AGE = "ringpost_queue_age_seconds";

// Not all of them: there may be a thousand queues among them.
const METRICS_PATHS = ["ringpost_", "connection_count", "memory_", "disk_free_"]
    .map((prefix) => `metrics.json?prefix=${prefix}`);

function count(name) {
    return ({metrics}) => value(metrics, name);
}

function givenUp({metrics}) {
    return GIVEN_UP.reduce((sum, name) => sum + value(metrics, name), 0);
}

function many(number, one, more) {
    return `${format.whole(number)} ${number === 1 ? one : more}`;
}

// A figure that the server leaves out while it starts and stops.
function known(number, text) {
    return number === null ? "–" : text(number);
}

function disk(metrics, name, of) {
    return metrics[name]?.value?.name?.[of] ?? null;
}

const samples = new Samples({
    taken: growth(TAKEN),
    delivered: growth(DELIVERED),
    deferred: growth(DEFERRED),
    bounced: growth(...GIVEN_UP),
    latency: lately(0.5, AGE),
    tail: lately(0.99, AGE),
});

const figures = new Figures([
    flow("taken", "Taken", count(TAKEN)),
    flow("delivered", "Delivered", count(DELIVERED)),
    flow("deferred", "Deferred", count(DEFERRED)),
    flow("bounced", "Bounced", givenUp),
    {
        name: "latency", label: "Time to delivery",
        big: (all) => known(all.mean("latency", MEAN_OF), format.length),
        small: (all) => known(all.mean("tail", MEAN_OF), (ms) => `99 % below ${format.length(ms)}`),
    },
    {
        name: "queued", label: "Queued",
        big: (_, {queues}) => format.short(queues.total_count),
        small: (_, {queues}) => `in ${many(queues.total_queues, "queue", "queues")}`,
    },
    {
        name: "clients", label: "Connections",
        big: (_, {metrics}) =>
            known(value(metrics, "connection_count", "esmtp_listener"), format.short),
        unit: " in",
        small: (_, {metrics}) => known(value(metrics, "connection_count", "smtp_client"),
            (open) => `${format.whole(open)} to servers`),
    },
    {
        name: "memory", label: "Memory",
        big: (_, {metrics}) => known(value(metrics, "memory_usage"), format.bytes),
        small: (_, {metrics}) => known(value(metrics, "memory_limit"),
            (limit) => `${format.percent(value(metrics, "memory_usage"), limit)} of ` +
                format.bytes(limit)),
    },
    {
        name: "spool", label: "Spool",
        big: (_, {metrics}) =>
            known(disk(metrics, "disk_free_percent", "spool"), (part) => `${part} %`),
        unit: " free",
        small: (_, {metrics}) => known(disk(metrics, "disk_free_bytes", "spool"), format.bytes),
    },
    {
        name: "shards", label: "Threads",
        big: (_, {metrics}) => format.whole(value(metrics, "ringpost_shards")),
        small: (_, {metrics}) =>
            `${format.whole(value(metrics, "ringpost_commits_total"))} commits`,
    },
]);

const charts = new Charts([
    {
        title: "Recipients a second", text: format.rate, floor: 5,
        lines: [
            {name: "taken", label: "taken"}, {name: "delivered", label: "delivered"},
            {name: "deferred", label: "deferred"}, {name: "bounced", label: "bounced"},
        ],
    },
    {
        title: "Time from taken to delivered", text: format.length, floor: 10,
        lines: [{name: "tail", label: "99 % below"}, {name: "latency", label: "half below"}],
    },
]);
const reasons = new Reasons();
const queues = new List("queues", "scheduled");
const sites = new List("sites", "ready");

async function round() {
    const [scheduled, ready, ...parts] =
        await Promise.all([QUEUES_PATH, SITES_PATH, ...METRICS_PATHS].map(ask));
    const metrics = Object.assign({}, ...parts);
    samples.add(metrics, Date.now() / 1000);
    figures.show(samples, {metrics, queues: scheduled});
    charts.show(samples);
    reasons.show(scheduled);
    queues.show(scheduled);
    sites.show(ready);
    starting = value(metrics, "ringpost_ready") !== 1;
}

let starting = false;
let counting;

// How the page stands with the server; what it shows is old while it is away.
function tell({state, since, next, said}) {
    const place = find("#state");
    clearInterval(counting);
    setAttribute(place, "data-state", state === "live" && starting ? "starting" : state);
    document.body.classList.toggle("old", state === "away");
    const text = place.querySelector(".text");
    if (state !== "away") {
        setText(text, starting ? "starts, or stops" : "live");
        return;
    }
    const say = () => {
        const seconds = Math.max(0, Math.ceil((next - Date.now()) / 1000));
        setText(text, `${said ?? `no answer since ${format.moment(since, true)}`} · ` +
            (seconds > 0 ? `asked again in ${seconds} s` : "asking"));
    };
    counting = setInterval(say, 500);
    say();
}

setText(find("#host"), location.host);
document.title = `${location.host} · Ringpost`;
new Failures();
new Explain();
poll(round, tell);
