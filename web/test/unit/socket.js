import { CODECS } from '../../fireside/codec.js';

/** The network's end of a client's sockets: what was sent can be read, and what a server would say be said. */
export class Wire {
  constructor(encoding = 'json') {
    const wire = this;
    this.codec = CODECS[encoding];
    this.sockets = [];
    this.WebSocket = class {
      constructor(url, protocols) {
        Object.assign(this, { url, protocols, readyState: 0, sent: [], closedWith: undefined, protocol: protocols[0] });
        wire.sockets.push(this);
      }

      send(frame) {
        for (const command of wire.codec.decode(frame)) {
          this.sent.push(command);
          if (wire.answersPings && command.op === 'ping') wire.say({ id: command.id, ok: { ts: 1 } });
        }
      }

      close(code) {
        this.closedWith = code;
        this.readyState = 3;
      }
    };
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** What the client sent last under that op. */
  last(op) {
    return this.socket.sent.findLast((command) => command.op === op);
  }

  all(op) {
    return this.sockets.flatMap((socket) => socket.sent).filter((command) => command.op === op);
  }

  /** Several objects may share a frame. */
  say(...objects) {
    const frames = objects.map((object) => this.codec.encode(object));
    const data = typeof frames[0] === 'string' ? frames.join('\n') : concat(frames).buffer;
    this.socket.onmessage({ data });
  }

  hello() {
    this.socket.readyState = 1;
    this.say({ ev: 'hello', d: { protocol: 1, heartbeat_ms: 25_000, max_frame_bytes: 16_384, node: 'n1' } });
  }

  ok(op, ok) {
    this.say({ id: this.last(op).id, ok });
  }

  err(op, err) {
    this.say({ id: this.last(op).id, err: { message: err.code, retry: false, ...err } });
  }

  /** Opens a session as a server would. */
  start(rooms = [], sid = 's1') {
    this.hello();
    this.ok('session.start', { sid, me: person('me'), friends: [], rooms, limits: { max_text_chars: 4_000 } });
  }

  close(code) {
    this.socket.readyState = 3;
    this.socket.onclose?.({ code, reason: '' });
  }
}

function concat(parts) {
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export function person(id) {
  return { id, name: id, presence: { status: 'online' } };
}

export function room(id, head = 0, epoch = 'e1') {
  return { id, kind: 'group', name: id, epoch, head, read: 0, unread: 0, mentions: 0, role: 'member', members: 2 };
}

export function said(seq, text = `m${seq}`, user = 'bo') {
  return { seq, user, ts: 1_795_000_000_000 + seq, kind: 'message', nonce: `n${seq}`, text };
}
