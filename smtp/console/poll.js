// Asks the server again and again: once a second, seldom while nobody looks, and ever more seldom
// while it does not answer. Says how it stands: "live", "hidden", or "away" with since when, when
// it is asked next, and what it said when it did say something.

const EVERY_MS = 1000;
const HIDDEN_MS = 20000;
const AWAY_MS = [1000, 2000, 4000, 8000, 15000];
const ANSWER_MS = 5000;

// An answer that is none of those that are wanted: the line that the server has put into it.
export class Refused extends Error {
    constructor(line, status) {
        super(line);
        this.status = status;
    }
}

// A server with millions of queues has to look at all of them for an answer: to one that takes long
// the page is a fifth of the time, at most.
function pause(took) {
    return Math.max(EVERY_MS - took, 4 * took);
}

// The JSON that `path` answers. Fails when there is no answer, or none that is JSON.
export async function ask(path) {
    const answer = await fetch(
        path, {signal: AbortSignal.timeout(ANSWER_MS), cache: "no-store"});
    if (!answer.ok) {
        throw new Refused((await answer.text()).split("\n", 1)[0], answer.status);
    }
    return answer.json();
}

// `round()` asks for everything once. `tell(state)` hears of every change.
export function poll(round, tell) {
    let timer;
    let failures = 0;
    let since = null;
    let busy = false;

    function later(ms) {
        clearTimeout(timer);
        timer = setTimeout(turn, ms);
    }

    function failed(error) {
        since ??= new Date();
        const wait = AWAY_MS[Math.min(failures++, AWAY_MS.length - 1)];
        tell({
            state: "away", since, next: new Date(Date.now() + wait),
            said: error instanceof Refused ? error.message : null,
        });
        later(wait);
    }

    async function turn() {
        const begun = performance.now();
        if (busy) {
            return;
        }
        busy = true;
        try {
            await round();
            failures = 0;
            since = null;
            tell({state: document.hidden ? "hidden" : "live"});
            later(document.hidden ? HIDDEN_MS : pause(performance.now() - begun));
        } catch (error) {
            failed(error);
        } finally {
            busy = false;
        }
    }

    document.addEventListener("visibilitychange", () => {
        if (!document.hidden) {
            later(0);
        }
    });
    window.addEventListener("online", () => later(0));
    later(0);
}
