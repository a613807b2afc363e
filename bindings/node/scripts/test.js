'use strict';
// Runs the tests, test/*.test.js, under Node's own runner. Ends with status 0 if all passed.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const packageDirectory = path.resolve(__dirname, '..');
const tests = path.join(packageDirectory, 'test');
const files = fs.readdirSync(tests).filter((name) => name.endsWith('.test.js')).map((name) => path.join(tests, name));

const { status } = spawnSync(process.execPath, ['--test', ...process.argv.slice(2), ...files], { stdio: 'inherit' });
process.exit(status === null ? 1 : status);
