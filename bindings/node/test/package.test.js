'use strict';
// The package as others see it: import, require, and types.
const { test } = require('node:test');
const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');

const packageDirectory = path.join(__dirname, '..');
const names = ['AtollError', 'Batch', 'Bytes', 'Client', 'Consumer', 'Message', 'Observer', 'Producer', 'connect', 'version'];

test('import and require give the same objects', async () => {
  const required = require('atoll-ipc');
  const imported = await import('atoll-ipc');
  assert.deepStrictEqual(Object.keys(required).sort(), names);
  assert.deepStrictEqual(Object.keys(imported).filter((name) => name !== 'default').sort(), names);
  for (const name of names) assert.strictEqual(imported[name], required[name]);
  assert.strictEqual(imported.default, required);
  assert.strictEqual(required.version, require('../package.json').version);
});

test('the types say what TypeScript programs may do', () => {
  const tsc = require.resolve('typescript/bin/tsc');
  const { status, stdout } = spawnSync(process.execPath, [tsc, '--noEmit', '-p', path.join(__dirname, 'types')], { cwd: packageDirectory, encoding: 'utf8' });
  assert.strictEqual(status, 0, stdout);
});

test('without its addon the package says how to build it', () => {
  const { status, stderr } = spawnSync(process.execPath, ['-e', `require(${JSON.stringify(packageDirectory)})`], {
    encoding: 'utf8', env: { ...process.env, ATOLL_NODE_ADDON: '/nonexistent/atoll.node' },
  });
  assert.strictEqual(status, 1);
  assert.match(stderr, /scripts\/build\.js/);
});
