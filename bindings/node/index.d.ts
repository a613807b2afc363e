// The types of atoll-ipc, and its reference.
//
// Numbers: every 64-bit counter (sequence, lost, version, received, ...) is a BigInt. Sizes and lengths are
// numbers. In replies of the broker integers that a number cannot hold exactly are BigInts, and so are all
// members whose name ends in _ns. Nothing is rounded.
//
// Errors: every call throws, or rejects with, an AtollError; an aborted one rejects with the signal's reason.

/// <reference types="node" />

import { AtollErrorCode } from './lib/error_codes.js';

export { AtollErrorCode };

/** What went wrong. */
export class AtollError extends Error {
  readonly name: 'AtollError';
  /** The same name in every language, e.g. `NO_SPACE`. */
  readonly code: AtollErrorCode;
  /** The segment's name, or "". */
  readonly segment: string;
  /** How to mend it. */
  readonly fix: string;
  /** The number that the message speaks of, e.g. the bytes needed; else 0. */
  readonly detail: number | bigint;
  /** Of sendMany: how many records were sent before it failed. */
  readonly sent?: number;
}

/** Version of the library that is running. */
export const version: string;

export interface ConnectOptions {
  /** Path of the broker's socket. Default: $ATOLL_SOCKET, else this user's own, else /run/atoll/. */
  socket?: string;
  /** Start a broker if there is none (default: true); else that is NO_BROKER. */
  startBroker?: boolean;
  /**
   * Milliseconds to wait for the broker. Default: 10 000. Infinity: no limit; 0: 1 ms. Anything but a number of at
   * least 0 is INVALID_ARGUMENT. A broker that is not there by then is NO_BROKER, one that does not answer TIMED_OUT.
   * It is also the limit of each call of the client.
   */
  timeoutMs?: number;
  /** The program to start. Default: $ATOLLD, else the one built with this package, else PATH. */
  atolldPath?: string;
}

/**
 * Connects to this user's broker. This, like every call of a Client, waits on a thread of Node's pool and never blocks
 * JavaScript; but the process ends only after calls that are under way, also by process.exit(): up to timeoutMs.
 */
export function connect(options?: ConnectOptions): Promise<Client>;

export type Kind = 'stream' | 'bytes';
export type Backing = 'shm' | 'file' | 'memfd';
export type WhenFull = 'block' | 'drop-new' | 'overwrite';

interface AnyCreateOptions {
  backing?: Backing;
  /** Of backing "file": an absolute path. */
  directory?: string;
  /** Who else may use it: "USER:RIGHTS,..." with RIGHTS of p(roduce), c(onsume), o(bserve), a(dmin). */
  access?: string;
}
export interface CreateStreamOptions extends AnyCreateOptions {
  kind?: 'stream';
  /** Bytes of each lane, rounded up to a power of two. Default: 1 MiB. */
  capacity?: number | bigint;
  /** What a full ring does with a send. Default: "block". */
  whenFull?: WhenFull;
  /** Of payloads: 16 (default) or 64. */
  alignment?: number;
}
export interface CreateBytesOptions extends AnyCreateOptions {
  kind: 'bytes';
  size: number | bigint;
  /** The longest put; null or 0: none. Default: size up to 16 MiB, else none. */
  putSize?: number | bigint | null;
}
export type CreateOptions = CreateStreamOptions | CreateBytesOptions;

export interface OpenOptions {
  /** How long to wait for the segment to appear. Default: 0. */
  waitMs?: number;
  signal?: AbortSignal;
}
/** Where a new group, or an observer, begins. */
export type Start = 'earliest' | 'latest' | { back: number | bigint };
export interface ConsumerOptions extends OpenOptions {
  /** Default: "default". */
  group?: string;
  /** If the group is new. Default: "earliest". */
  start?: Start;
  /** Records are dealt with when acknowledge() says so, not when they were handed out. */
  manual?: boolean;
  /** The group has one consumer at a time and needs no lock. */
  exclusive?: boolean;
  /** The group ends with its last consumer. */
  ephemeral?: boolean;
  /** receiveSync() looks and never sleeps: for a thread with a CPU of its own. The other calls never block anyway. */
  spin?: boolean;
  /** Most records fetched ahead, 1 to 64. */
  prefetch?: number;
  /**
   * message.data is the record's own memory, mapped copy-on-write (a stray write harms only this process), until
   * release() detaches it. For large records; a small one is copied faster.
   */
  zeroCopy?: boolean;
}
export interface ObserverOptions extends OpenOptions {
  /** Default: "latest". */
  start?: Start;
}
export type MapMode = 'read' | 'write' | 'copy';
export interface BytesOptions extends OpenOptions {
  /** Default: "read". "copy": changes stay private to this handle. */
  mode?: MapMode;
}

export interface SegmentInfo {
  name: string;
  kind: string;
  backing: string;
  size: number;
  resident: number;
  owner: string;
  producers: number;
  consumers: number;
  observers: number;
  lanes: number;
  groups: number;
  state: string;
  created_ns: bigint;
  age_ns: bigint;
  [member: string]: unknown;
}

/** A connection to the broker. */
export class Client {
  private constructor();
  readonly closed: boolean;
  /** True: made now. False: it was there, with the same options. */
  create(name: string, options?: CreateOptions): Promise<boolean>;
  /** Removes a segment (in use: only with force), or one group of a stream. */
  remove(name: string, options?: { force?: boolean; group?: string }): Promise<void>;
  list(prefix?: string): Promise<SegmentInfo[]>;
  show(name: string): Promise<Record<string, any>>;
  manifest(name: string): Promise<Record<string, any>>;
  status(): Promise<Record<string, any>>;
  gc(options?: { apply?: boolean }): Promise<{ findings: Record<string, any>[]; bytes: number }>;
  /** A method of dev.atoll.Broker, e.g. "Status". */
  call(method: string, parameters?: object): Promise<Record<string, any>>;
  openProducer(name: string, options?: OpenOptions): Promise<Producer>;
  openConsumer(name: string, options?: ConsumerOptions): Promise<Consumer>;
  openObserver(name: string, options?: ObserverOptions): Promise<Observer>;
  openBytes(name: string, options?: BytesOptions): Promise<Bytes>;
  /** Handles opened from it go on working. */
  close(): Promise<void>;
}

/** What may be sent. Strings go as UTF-8 and are marked as text. */
export type Sendable = NodeJS.ArrayBufferView | ArrayBuffer | string;

/** How long a call may wait. Without them: for ever. */
export interface WaitOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
}

export type Content = 'bytes' | 'text' | 'json' | 'array';
/** As NumPy writes it: "<f8", "|u1", ...; or a record with fields. */
export type Dtype = string | StructuredDtype;
export interface StructuredDtype {
  names: string[];
  formats: (Dtype | [Dtype, number[]])[];
  offsets: number[];
  itemsize: number;
}
export interface ArrayToSend {
  /** Default: what `data` is. */
  dtype?: Dtype;
  /** Default: one dimension. */
  shape?: number[];
  /** "C" (default): the last index runs fastest. */
  order?: 'C' | 'F';
  data: NodeJS.ArrayBufferView | ArrayBuffer;
}
export type TypedArray =
  | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array
  | BigInt64Array | BigUint64Array;
export interface ReceivedArray {
  /** What `data` holds: big-endian numbers were swapped and are "<..." here. */
  dtype: Dtype;
  shape: number[];
  order: 'C' | 'F';
  /**
   * int64 is a BigInt64Array, float16 a Uint16Array of its bits, complex numbers pairs of floats; texts, raw
   * bytes, records with fields, and floats longer than 8 bytes are a Buffer.
   */
  data: TypedArray | Buffer;
}

export interface ProducerInfo {
  lane: number;
  capacity: number;
  maxPayload: number;
  /** Number of the next record. */
  sequence: bigint;
  dropped: bigint;
  /** Times a send had to wait. */
  blocked: bigint;
  alignment: number;
  whenFull: WhenFull;
}

/** Writes a stream, through a lane of its own. */
export class Producer {
  private constructor();
  readonly name: string;
  readonly closed: boolean;
  /**
   * Copies a record into the ring. Resolves at once unless the ring is full and the stream is "block": then when there
   * is room, in the order of the calls; do not change `data` until then. False: dropped ("drop-new").
   */
  send(data: Sendable, options?: WaitOptions): Promise<boolean>;
  /** The same without waiting. False: it was not stored, as the ring is full. */
  trySend(data: Sendable): boolean;
  /** All in order. Resolves with the number stored. All strings or all bytes. */
  sendMany(records: Sendable[], options?: WaitOptions): Promise<number>;
  sendJson(value: unknown, options?: WaitOptions): Promise<boolean>;
  sendArray(array: ArrayToSend, options?: WaitOptions): Promise<boolean>;
  /** A record's payload to fill in place. Readers see later records once it is committed or aborted. */
  loan(length: number, options?: WaitOptions & { content?: Content }): Promise<Loan>;
  /** null: the ring is full. */
  tryLoan(length: number, options?: { content?: Content }): Loan | null;
  /** Nothing more will come: iteration over the stream ends when all producers have said so. */
  finish(): Promise<void>;
  info(): ProducerInfo;
  /** Gives the lane back; sends that wait are rejected, open loans aborted. */
  close(): Promise<void>;
}

export interface Loan {
  /** The ring's own memory. Detached (length 0) once committed or aborted. */
  readonly buffer: Buffer;
  commit(): void;
  abort(): void;
}

export interface ReaderInfo {
  alignment: number;
  received: bigint;
  lost: bigint;
  outstanding: bigint;
  lanes: number;
  copies: boolean;
}

interface Reader extends AsyncIterable<Message> {
  readonly name: string;
  readonly closed: boolean;
  /** The next record. TIMED_OUT; ENDED: all producers finished and all is read. Aborting loses nothing. */
  receive(options?: WaitOptions): Promise<Message>;
  /** null: there is none now. */
  tryReceive(): Message | null;
  /** Up to `max` (default 1024) records; waits for the first only. */
  receiveMany(max?: number, options?: WaitOptions): Promise<Message[]>;
  /** The same as columns, without an object for each: the quickest way. Not with zeroCopy. */
  receiveBatch(max?: number, options?: WaitOptions): Promise<Batch>;
  /**
   * As receive(), but blocks the thread and with it its event loop: for worker threads. TIMED_OUT after timeoutMs
   * milliseconds (default, and Infinity: no limit). A worker that blocks here can be ended by worker.terminate(), and
   * by process.exit() in the main thread: it looks up four times a second, which moves no limit. In the main thread
   * nothing but a signal that kills the process ends it sooner.
   */
  receiveSync(options?: { timeoutMs?: number }): Message;
  /** receive() and message.json(). Not in manual mode. */
  receiveJson(options?: WaitOptions): Promise<any>;
  /** receive() and message.array(). Not in manual mode. */
  receiveArray(options?: WaitOptions): Promise<ReceivedArray>;
  /**
   * Ends when all producers have finished. A record is acknowledged when the loop moves past it, or is left by break,
   * return or throw; the reader stays open. Several loops may share a reader, and other receives go on beside them: each
   * record goes to one of them, and one that a loop still holds is acknowledged by that loop alone. Until then it keeps
   * its room in the ring. Who calls next() by hand says return() at the end, or that iterator's last record comes again
   * when the consumer closes.
   */
  [Symbol.asyncIterator](): AsyncIterator<Message, undefined>;
  info(): ReaderInfo;
  /** Leaves. Waiting receives are rejected with CLOSED, zero-copy views detached. */
  close(): Promise<void>;
}
/** A member of a group: each record goes to one of them. */
export interface Consumer extends Reader {}
export class Consumer {
  private constructor();
  readonly manual: boolean;
}
/** Watches a stream: takes nothing away, holds nothing back, is told what it missed. */
export interface Observer extends Reader {}
export class Observer {
  private constructor();
}

/** A record. */
export class Message {
  private constructor();
  /** The payload: a copy of the caller's own; with zeroCopy the record's memory until release(). */
  readonly data: Buffer;
  /** Bytes of data. */
  readonly length: number;
  readonly content: Content;
  /** Number of the record in its lane. */
  readonly sequence: bigint;
  readonly lane: number;
  /** Records of this lane that were lost just before this one. */
  readonly lost: bigint;
  /** 1: for the first time. More: again, after a death, a rejection or a close. */
  readonly deliveries: number;
  readonly redelivered: boolean;
  /** data as UTF-8; BAD_ENCODING if it is not. */
  text(): string;
  json(): any;
  array(): ReceivedArray;
  /** zeroCopy: gives the view back and detaches data (automatic mode: acknowledges it, too). Else nothing. */
  release(): void;
  /** Manual mode: this record is dealt with. */
  acknowledge(): void;
  /** Manual mode: this one and all that this consumer received before it. */
  acknowledgeUpTo(): void;
  /** Manual mode: the record is given again, to any member, marked. */
  reject(): void;
}

/**
 * Records received together, each a piece of `data`. Iterate it for Messages, or read the columns:
 *
 *     for (let i = 0; i < batch.length; i++) sum += batch.data.readDoubleLE(batch.offsets[i]);
 *     batch.release();
 */
export class Batch implements Iterable<Message> {
  private constructor();
  /** Number of records, at least 1. */
  readonly length: number;
  /** The payloads, each at a multiple of 16; what lies between them is undefined. A copy, as `message.data`. */
  readonly data: Buffer;
  /** Where each payload begins in `data`. */
  readonly offsets: Uint32Array;
  /** Bytes of each. */
  readonly lengths: Uint32Array;
  /** A record; negative: from the end. Its data is a piece of this batch's. */
  at(index: number): Message;
  [Symbol.iterator](): Iterator<Message, undefined>;
  /** Manual mode: all of them are dealt with. */
  acknowledge(): void;
  /**
   * You look at it no more, nor at messages and Buffers of it: their memory serves the next batch. Their accessors
   * throw VIEW_RELEASED; a Buffer that you kept shows other records. Spares memory, and with it much of the time;
   * a batch that is not released is collected like anything else. Acknowledges nothing: that was done, or is
   * acknowledge()'s.
   */
  release(): void;
}

export interface BytesInfo {
  mode: MapMode;
  size: number;
  /** The longest put; 0: none. */
  putSize: number;
  /** Of the content last put. */
  length: number;
  /** Number of puts. */
  version: bigint;
}

/** A plain piece of shared memory. */
export class Bytes {
  private constructor();
  readonly name: string;
  readonly closed: boolean;
  readonly size: number;
  readonly mode: MapMode;
  /** The content in place, not with mode "read". Detached by close(). */
  readonly buffer: Buffer;
  /** A copy. Not coordinated with other processes, as writeAt. */
  readAt(offset: number | bigint, length: number | bigint): Buffer;
  writeAt(offset: number | bigint, data: Sendable): void;
  /** Backing "file": writes a range (length 0: all) to the disk. */
  flush(options?: { offset?: number | bigint; length?: number | bigint; wait?: boolean }): Promise<void>;
  /** "These are the content now", as one. */
  put(data: Sendable, options?: WaitOptions): Promise<void>;
  /** The content last put, whole, once its version is above `after` (default 0: any put). */
  get(options?: WaitOptions & { after?: bigint | number }): Promise<{ data: Buffer; version: bigint }>;
  /** null: there is none. */
  tryGet(options?: { after?: bigint | number }): { data: Buffer; version: bigint } | null;
  info(): BytesInfo;
  close(): Promise<void>;
}
