// Charts over the time that the page is open, drawn by uPlot (a script of its own, `uPlot`). Their
// colours are those of the style sheet, and change with it.

import {element, find, setText} from "./page.js";
import * as format from "./format.js";

const SPAN_S = 600; // shown
const dark = matchMedia("(prefers-color-scheme: dark)");

// As .plot in the style sheet.
function height() {
    return Math.round(Math.max(190, innerHeight / 5));
}

function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axis(more) {
    const font = getComputedStyle(document.body).fontFamily;
    return {
        stroke: colour("faint"), font: `11px ${font}`,
        grid: {stroke: colour("line"), width: 1}, ticks: {show: false}, ...more,
    };
}

function clock(seconds) {
    return format.moment(new Date(seconds * 1000), seconds % 60 !== 0);
}

// The samples between two gaps, which no line shows.
function alone(plot, series) {
    const values = plot.data[series];
    const gap = (at) => values[at] === null || values[at] === undefined;
    return [...values.keys()].filter((at) => !gap(at) && gap(at - 1) && gap(at + 1));
}

// `lines`: [{name, label}] columns of the samples; each has the colour of its name.
class Chart {
    constructor({title, lines, text, floor}) {
        Object.assign(this, {lines, text, floor});
        this.readout = element("p", {class: "readout"});
        this.place = element("div", {class: "plot"});
        this.box = element("figure", {class: "card chart"},
            element("figcaption", {}, element("h2", {}, title), this.readout), this.place);
        this.plot = null;
        this.samples = null;
    }

    // The right end is now; what is shown grows from a minute to SPAN_S.
    span() {
        const {times} = this.samples;
        const now = times.at(-1);
        return [Math.max(now - SPAN_S, Math.min(times[0], now - 60)), now];
    }

    options() {
        return {
            width: Math.max(this.place.clientWidth, 100), height: height(),
            legend: {show: false},
            cursor: {y: false, points: {size: 6}, drag: {x: false, y: false}},
            padding: [8, 16, 0, 0],
            scales: {
                x: {range: () => this.span()},
                y: {range: (plot, min, max) => [0, Math.max(max * 1.1, this.floor)]},
            },
            series: [{}, ...this.lines.map((line) => ({
                stroke: colour(line.name), width: 1.75,
                points: {show: true, size: 4, fill: colour(line.name), filter: alone},
            }))],
            axes: [
                axis({space: 70, size: 24, values: (plot, ticks) => ticks.map(clock)}),
                axis({space: 34, size: 52, values: (plot, ticks) => ticks.map(this.text)}),
            ],
            hooks: {setCursor: [() => this.read()]},
        };
    }

    // What the lines are, and what they are at the cursor when there is one.
    read() {
        const at = this.plot.cursor.idx;
        const values = this.lines.map((line) => at === null || at === undefined
            ? null : this.samples.values[line.name][at]);
        this.lines.forEach((line, i) => setText(this.keys[i],
            values[i] === null ? line.label : `${line.label} ${this.text(values[i])}`));
        setText(this.when, at === null || at === undefined
            ? "" : format.moment(new Date(this.samples.times[at] * 1000), true));
    }

    draw() {
        this.plot?.destroy();
        this.when = element("span", {class: "when"});
        this.keys = this.lines.map((line) => element("span", {class: `key of-${line.name}`}));
        this.readout.replaceChildren(this.when, ...this.keys);
        this.plot = new uPlot(this.options(), this.data(), this.place);
        this.read();
    }

    data() {
        const {times, values} = this.samples;
        return [times, ...this.lines.map((line) => values[line.name])];
    }

    show(samples) {
        this.samples = samples;
        if (this.plot === null) {
            this.draw();
        } else {
            this.plot.setData(this.data());
        }
    }

    fit() {
        this.plot?.setSize({width: Math.max(this.place.clientWidth, 100), height: height()});
    }
}

export class Charts {
    constructor(charts) {
        this.charts = charts.map((chart) => new Chart(chart));
        find("#charts").append(...this.charts.map((chart) => chart.box));
        const watch = new ResizeObserver(() => this.charts.forEach((chart) => chart.fit()));
        this.charts.forEach((chart) => watch.observe(chart.place));
        dark.addEventListener("change", () => this.charts.forEach((chart) => chart.draw()));
    }

    show(samples) {
        this.charts.forEach((chart) => chart.show(samples));
    }
}
