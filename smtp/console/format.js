// Numbers, times and lengths of time as people read them.

const WHOLE = new Intl.NumberFormat("en-US", {maximumFractionDigits: 0});
const SHORT = new Intl.NumberFormat("en-US", {notation: "compact", maximumSignificantDigits: 3});

// 1,234,567
export function whole(value) {
    return WHOLE.format(value);
}

// 9,999, then 12.3K, 4.56M
export function short(value) {
    return value < 10000 ? WHOLE.format(value) : SHORT.format(value);
}

// Of something a second: 0, 0.4, 12, 12.3K.
export function rate(value) {
    return value < 9.95 && !Number.isInteger(value) ? value.toFixed(1) : short(Math.round(value));
}

export function bytes(value) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (value >= 1024 && unit < units.length - 1) {
        value /= 1024;
        unit++;
    }
    return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function percent(part, all) {
    const value = all > 0 ? 100 * part / all : 0;
    return value > 0 && value < 1 ? "< 1 %" : `${Math.round(value)} %`;
}

// "340 ms", "12 s", "3 min", "2 h 5 min", "4 d 2 h"
export function length(ms) {
    const s = Math.round(ms / 1000);
    const min = Math.round(s / 60);
    const h = Math.floor(min / 60);
    if (ms < 1000) {
        return `${ms < 10 && ms > 0 ? ms.toFixed(1) : Math.round(ms)} ms`;
    }
    if (s < 100) {
        return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${s} s`;
    }
    if (min < 60) {
        return `${min} min`;
    }
    if (h < 48) {
        return min % 60 > 0 ? `${h} h ${min % 60} min` : `${h} h`;
    }
    return h % 24 > 0 ? `${Math.floor(h / 24)} d ${h % 24} h` : `${h / 24} d`;
}

// A moment of today by the clock, any other with its day.
export function moment(date, seconds = false) {
    const time = date.toLocaleTimeString("en-GB", {
        hour: "2-digit", minute: "2-digit", ...(seconds ? {second: "2-digit"} : {}),
    });
    if (date.toDateString() === new Date().toDateString()) {
        return time;
    }
    return `${date.toLocaleDateString("en-GB", {day: "numeric", month: "short"})} ${time}`;
}

// Names hold what mail said: what cannot be seen, or turns the line round, is written as its code.
export function shown(name) {
    return name.replace(/[\p{C}\p{Zl}\p{Zp}]/gu,
        (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

// A site's name is SOURCE->NAME@smtp_client: what tells it from others is in the middle.
export function siteName(name) {
    return shown(name.replace(/^unspecified->/, "").replace(/@smtp_client$/, ""));
}
