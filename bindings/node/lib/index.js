'use strict';
// The package's entry for require(); lib/index.mjs is the one for import. README.md has an example.

const native = require('./native.js');
const { AtollError } = require('./errors.js');
const { connect, Client } = require('./client.js');
const { Producer } = require('./producer.js');
const { Consumer, Observer } = require('./reader.js');
const { Message } = require('./message.js');
const { Batch } = require('./batch.js');
const { Bytes } = require('./bytes.js');

module.exports = { connect, Client, Producer, Consumer, Observer, Message, Batch, Bytes, AtollError, version: native.version };
