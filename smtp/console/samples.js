// What /metrics.json has said of late, in columns as uPlot takes them.
// A rate is that between two answers. A server that has begun anew, or was away, leaves a gap.

const KEPT = 700; // a little more than charts show, at one a second
const GAP_S = 30; // nothing is drawn across a longer silence

// The value of a metric, or of one service of it; null when the server does not have it.
export function value(metrics, name, service) {
    const found = metrics[name]?.value;
    const wanted = service === undefined ? found : found?.service?.[service];
    return typeof wanted === "number" ? wanted : null;
}

// Within a bucket values are taken to be spread evenly: none is wider than a power of two.
function quantile(bounds, counts, part) {
    const wanted = part * counts.reduce((sum, count) => sum + count, 0);
    let below = 0;
    for (let i = 0; i < bounds.length; i++) {
        if (counts[i] > 0 && below + counts[i] >= wanted) {
            const low = i > 0 ? bounds[i - 1] : 0;
            return low + (bounds[i] - low) * (wanted - below) / counts[i];
        }
        below += counts[i];
    }
    return bounds.at(-1); // past the last bound
}

// A column: what a part of all that was measured between two answers lies below, in milliseconds.
export function lately(part, name) {
    return (metrics, before) => {
        const now = metrics[name]?.value;
        const then = before?.[name]?.value;
        if (!now || !then || now.count === then.count) {
            return null;
        }
        // JSON's order of keys is the writer's; bounds are numbers written out.
        const bounds = Object.keys(now.buckets).filter((bound) => bound !== "+Inf")
            .sort((a, b) => a - b);
        const below = bounds.map((bound) => now.buckets[bound] - (then.buckets[bound] ?? 0));
        const counts = below.map((count, i) => count - (i > 0 ? below[i - 1] : 0));
        counts.push(now.count - then.count - (below.at(-1) ?? 0));
        return 1000 * quantile([...bounds, bounds.at(-1)].map(Number), counts, part);
    };
}

export class Samples {
    // `columns`: name → function of (metrics, before, seconds) → number or null.
    constructor(columns) {
        this.columns = columns;
        this.times = [];
        this.values = Object.fromEntries(Object.keys(columns).map((name) => [name, []]));
        this.before = null;
    }

    add(metrics, time_s) {
        const seconds = this.before === null ? 0 : time_s - this.before.time_s;
        const broken = seconds <= 0 || seconds > GAP_S || restarted(this.before.metrics, metrics);
        this.times.push(time_s);
        for (const [name, column] of Object.entries(this.columns)) {
            const before = broken ? null : this.before.metrics;
            this.values[name].push(column(metrics, before, seconds));
        }
        this.before = {metrics, time_s};
        if (this.times.length > KEPT) {
            this.times.shift();
            Object.values(this.values).forEach((column) => column.shift());
        }
    }

    // Of the last `count` samples, without those that have none; null: there is no such.
    mean(name, count) {
        const found = this.values[name].slice(-count).filter((item) => item !== null);
        return found.length > 0 ? found.reduce((sum, item) => sum + item, 0) / found.length : null;
    }
}

// Counters of a process never fall.
function restarted(before, now) {
    const turns = "ringpost_turns_total";
    return value(now, turns) < value(before, turns);
}

// A column: how fast a counter, or a sum of some, has grown.
export function growth(...counters) {
    return (metrics, before, seconds) => {
        if (before === null) {
            return null;
        }
        const grown = counters.reduce(
            (sum, name) => sum + value(metrics, name) - value(before, name), 0);
        return Math.max(0, grown / seconds);
    };
}
