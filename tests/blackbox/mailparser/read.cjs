// What npm's mailparser makes of messages: one JSON string a line in, one JSON object a line out.
// usage: node read.cjs FOLDER_OF_NODE_MODULES < MESSAGES
"use strict";
const path = require("path");
const readline = require("readline");
const { simpleParser } = require(path.resolve(process.argv[2], "mailparser"));

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const mail = await simpleParser(Buffer.from(JSON.parse(line), "utf8"), {
      keepDeliveryStatus: true,
      skipHtmlToText: true,
      skipTextToHtml: true,
    });
    console.log(JSON.stringify({
      headers: mail.headerLines.map((header) => header.key),
      subject: mail.subject,
      from: mail.from && mail.from.text,
      to: mail.to && mail.to.value.map((box) => box.address),
      text: mail.text || "",
      attachments: mail.attachments.map((part) => ({
        type: part.contentType,
        content: part.content.toString("utf8"),
      })),
    }));
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
