#!/usr/bin/env node
// SPDX-License-Identifier: GPL-3.0-or-later
// npm's solc (the compiler as WebAssembly) with as much of the native compiler's command line as forge uses:
// `--version`, and `--standard-json` from standard input with the sources in it.
import { createRequire } from "node:module";
import { readFileSync, writeSync } from "node:fs";

const solc = createRequire(import.meta.url)("solc");

function write(text) {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(1, bytes, done);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

if (process.argv.includes("--version")) {
  write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version().replace(".Emscripten.clang", ".Linux.g++")}\n`);
} else if (process.argv.includes("--standard-json")) {
  write(solc.compile(readFileSync(0, "utf8")));
} else {
  process.stderr.write("This wrapper knows --version and --standard-json.\n");
  process.exit(1);
}
