#!/usr/bin/env node
// SPDX-License-Identifier: GPL-3.0-or-later
// The forge of this machine, from the package npm installs for it. (The launcher package is not used: it ends with
// 0 when tests fail.)
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";

const machine = { x64: "amd64", arm64: "arm64" }[process.arch];
const system = { linux: "linux", darwin: "darwin" }[process.platform];
const forge = createRequire(import.meta.url).resolve(`@foundry-rs/forge-${system}-${machine}/bin/forge`);
const done = spawnSync(forge, process.argv.slice(2), { stdio: "inherit" });
if (done.error) console.error(done.error.message);
process.exit(done.status ?? 1);
