// The row of figures on top. Those that the chart shows as well carry its colours.

import {element, find, setText} from "./page.js";
import * as format from "./format.js";

const MEAN_OF = 3; // samples: a figure is to be read, not to flicker

// A rate and what it has come to since the server's start.
function flow(name, label, total) {
    return {
        name, label, total,
        big: (samples) => {
            const mean = samples.mean(name, MEAN_OF);
            return mean === null ? "–" : format.rate(mean);
        },
        unit: "/s",
        small: (samples, now) => `${format.whole(total(now))} in all`,
    };
}

function tile(figure) {
    return element("div", {class: "figure", "data-figure": figure.name},
        element("h2", {}, figure.label),
        element("p", {class: "big"},
            element("span", {class: "value"}, "–"), element("span", {class: "unit"})),
        element("p", {class: "small"}));
}

export class Figures {
    constructor(figures) {
        this.figures = figures.map((figure) => [figure, tile(figure)]);
        find("#figures").append(...this.figures.map(([, made]) => made));
    }

    show(samples, now) {
        for (const [figure, made] of this.figures) {
            const big = figure.big(samples, now);
            setText(made.querySelector(".value"), big);
            setText(made.querySelector(".unit"), big === "–" ? "" : figure.unit ?? "");
            const small = figure.small(samples, now);
            setText(made.querySelector(".small"), small === "–" ? "" : small);
        }
    }
}

export {flow, MEAN_OF};
