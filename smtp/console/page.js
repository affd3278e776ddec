// Elements of the page. Text reaches them through textContent and attributes alone: nothing that
// mail or a server has said can become markup.

export function find(selector) {
    return document.querySelector(selector);
}

// element("a", {class: "name", href: "#x"}, "text", child, …); what is null is left out.
export function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value !== null && value !== undefined) {
            made.setAttribute(name, value);
        }
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
}

// Only what differs is written, so that a selection or a screen reader is not disturbed.
export function setText(target, text) {
    if (target.textContent !== text) {
        target.textContent = text;
    }
}

export function setAttribute(target, name, value) {
    if (target.getAttribute(name) !== value) {
        target.setAttribute(name, value);
    }
}

// Makes the children of `parent` one for each item, in their order. `make(item)` builds one,
// `update(child, item)` writes into it; the child of a key stays the same element, and keeps its
// focus.
export function keyed(parent, items, key, make, update) {
    const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
    let at = parent.firstElementChild;
    for (const item of items) {
        const name = key(item);
        let child = before.get(name);
        if (child === undefined) {
            child = make(item);
            child.dataset.key = name;
        }
        before.delete(name);
        update(child, item);
        if (child === at) {
            at = at.nextElementSibling;
        } else {
            parent.insertBefore(child, at);
        }
    }
    for (const child of before.values()) {
        child.remove();
    }
}

// The address of an explanation: kind is "queue", "domain" or "id".
export function explainLink(kind, name) {
    return `#${kind}=${encodeURIComponent(name)}`;
}

// Parts of a whole side by side, each in the colour of its reason.
export function showBar(bar, items, all) {
    keyed(bar, items, (item) => item.reason,
        () => element("span", {class: "part"}),
        (part, item) => {
            setAttribute(part, "data-reason", item.reason);
            part.style.flexGrow = String(item.part / Math.max(all, 1));
        });
}
