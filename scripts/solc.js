// The pinned solcjs, kept loaded: one standard JSON request a line in, one answer a line out.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const tools = process.argv[2];
const solc = require(require.resolve("solc", { paths: [tools] }));

/** Sources that a request does not carry lie below the folder of the tools. */
function read(name) {
  try {
    return { contents: fs.readFileSync(path.join(tools, name), "utf8") };
  } catch {
    return { error: `File not found: ${name}` };
  }
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(`${solc.compile(line, { import: read })}\n`);
});
