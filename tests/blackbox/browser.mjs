// A browser led by a test: a command of JSON a line on standard input, an answer each on standard
// output. What a page must never do (an error, a violation of its policy, a request to another
// server, a dialog) is kept, and told with the last answer.
//
// usage: node browser.mjs FOLDER_OF_PLAYWRIGHT_CORE BROWSER
import {createRequire} from "node:module";
import {createInterface} from "node:readline";

const [folder, executablePath] = process.argv.slice(2);
const {chromium} = createRequire(`${folder}/`)("playwright-core");
const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
const browser = await chromium.launch({executablePath, args: [...args, "--disable-dev-shm-usage"]});
const faults = [];
let page;

async function open({url, width, height, scheme}) {
    await page?.close();
    page = await browser.newPage({viewport: {width, height}, colorScheme: scheme});
    page.setDefaultTimeout(30000);
    const origin = new URL(url).origin;
    page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
    page.on("dialog", (dialog) => {
        faults.push(`dialog: ${dialog.message()}`);
        dialog.dismiss();
    });
    page.on("request", (request) => {
        if (new URL(request.url()).origin !== origin) {
            faults.push(`request: ${request.url()}`);
        }
    });
    page.on("console", (message) => {
        // A server that is away is expected by who stops it, and told by the browser.
        if (message.type() === "error" && !message.text().includes("net::ERR_")) {
            faults.push(`console: ${message.text()}`);
        }
    });
    await page.goto(url);
}

const commands = {
    open,
    wait: ({selector, text}) => page.locator(selector)
        .filter(text === undefined ? {} : {hasText: text}).first().waitFor(),
    gone: ({selector}) => page.locator(selector).first().waitFor({state: "hidden"}),
    texts: ({selector}) => page.locator(selector).allTextContents(),
    box: ({selector}) => page.locator(selector).first().boundingBox(),
    press: ({key}) => page.keyboard.press(key),
    click: ({selector}) => page.locator(selector).first().click(),
    fill: ({selector, text}) => page.locator(selector).fill(text),
    shot: async ({path, whole}) => void await page.screenshot({path, fullPage: whole}),
    faults: () => faults.splice(0),
};

for await (const line of createInterface({input: process.stdin})) {
    const {command, ...options} = JSON.parse(line);
    try {
        const answer = await commands[command](options) ?? null;
        process.stdout.write(`${JSON.stringify({answer})}\n`);
    } catch (error) {
        process.stdout.write(`${JSON.stringify({error: error.message, faults})}\n`);
    }
}
await browser.close();
