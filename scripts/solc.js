// The pinned solcjs, kept loaded: one standard JSON request a line in, one answer a line out.
// Sources that a request does not carry lie below --base-path. Answers are kept as those of tools/solc are.
"use strict";
const path = require("node:path");
const readline = require("node:readline");

const { answerTo } = require(path.join(process.argv[2], "tools", "solc"));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(`${answerTo(line)}\n`);
});
