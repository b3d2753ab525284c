/**
 * The wire contract's types, for `tsc --checkJs` and for editors. No code.
 *
 * Times are integer milliseconds since the Unix epoch; ids are opaque strings.
 *
 * @module
 */

/** @typedef {'online' | 'away' | 'busy' | 'invisible' | 'offline' | 'unknown'} Status */
/** @typedef {{ id: string, size: number, max: number }} Party */
/**
 * @typedef {object} Activity
 * @property {'game'} kind
 * @property {string} game
 * @property {string} [state]
 * @property {string} [details]
 * @property {Party} [party]
 * @property {boolean} [joinable]
 * @property {number} [since]
 */
/** @typedef {{ status: Status, activity?: Activity, last_seen?: number }} PresenceView */
/** @typedef {{ status: Status, activity?: Activity }} PresenceSet */
/** @typedef {{ id: string, name?: string }} UserRef */

/** @typedef {'dm' | 'group' | 'lobby' | 'channel'} RoomKind */
/** @typedef {'member' | 'moderator' | 'owner'} Role */
/** @typedef {'join' | 'leave' | 'kick' | 'ban' | 'unban' | 'mute' | 'unmute' | 'role'} MemberAction */
/** @typedef {'none' | 'outgoing' | 'incoming' | 'friend'} FriendState */

/** @typedef {{ emoji: string, count: number, users: string[] }} Reaction */
/**
 * A message as it now reads.
 * @typedef {object} Message
 * @property {number} seq
 * @property {string} user
 * @property {number} ts
 * @property {string} nonce
 * @property {string} text
 * @property {number} [reply_to]
 * @property {string[]} [mentions]
 * @property {unknown} [data]
 * @property {number} [edited_ts]
 * @property {boolean} [deleted]
 * @property {boolean} [unreadable]
 * @property {Reaction[]} [reactions]
 */

/** @typedef {{ seq: number, user: string, ts: number }} EntryHead */
/** @typedef {EntryHead & { kind: 'message', nonce: string, text: string, reply_to?: number, mentions?: string[], data?: unknown, unreadable?: boolean }} MessageEntry */
/** @typedef {EntryHead & { kind: 'edit', target: number, text: string, mentions?: string[] }} EditEntry */
/** @typedef {EntryHead & { kind: 'delete', target: number }} DeleteEntry */
/** @typedef {EntryHead & { kind: 'reaction', target: number, emoji: string, on: boolean }} ReactionEntry */
/** @typedef {EntryHead & { kind: 'member', action: MemberAction, member: string, role?: Role, until?: number }} MemberEntry */
/** @typedef {EntryHead & { kind: 'room', created?: RoomKind, name?: string, topic?: string, slow_mode_ms?: number, unreadable?: boolean }} RoomChangeEntry */
/** @typedef {MessageEntry | EditEntry | DeleteEntry | ReactionEntry | MemberEntry | RoomChangeEntry} Entry */
/** @typedef {Entry & { room: string }} RoomEntry */

/**
 * A room as the caller sees it.
 * @typedef {object} RoomView
 * @property {string} id
 * @property {RoomKind} kind
 * @property {string} [name]
 * @property {string} [topic]
 * @property {string} epoch
 * @property {number} head
 * @property {number} [first] the first entry that is still kept, once something has expired
 * @property {number} read
 * @property {number} unread
 * @property {number} mentions
 * @property {Message} [last]
 * @property {Role} role
 * @property {number} members
 * @property {UserRef} [peer]
 * @property {number} [slow_mode_ms]
 * @property {number} [muted_until]
 */
/** @typedef {{ id: string, name?: string, role: Role, read?: number, muted_until?: number }} Member */
/** @typedef {{ id: string, name: string, presence: PresenceView }} Person */
/**
 * @typedef {object} Limits
 * @property {number} max_frame_bytes
 * @property {number} max_text_chars
 * @property {number} max_data_bytes
 * @property {number} session_ttl_ms
 * @property {number} max_group_members
 */
/** @typedef {{ sid: string, me: Person, friends: Person[], rooms: RoomView[], limits: Limits }} Started */
/** @typedef {{ sid: string, replayed: number }} Resumed */
/** @typedef {{ seq: number, ts: number, dup: boolean }} Appended */
/** @typedef {{ epoch: string, head: number, reset?: boolean, first?: number, entries: Entry[], more: boolean }} Synced */
/** @typedef {{ members: Member[], next?: string }} MembersReply */
/** @typedef {{ code: string, retry: boolean, retry_after_ms?: number, message: string }} ErrorBody */

/**
 * Every op: its body, then what `ok` holds.
 * @typedef {{
 *   'session.start': [{ device?: string, client?: string, presence?: PresenceSet }, Started],
 *   'session.resume': [{ sid: string, s: number }, Resumed],
 *   'session.ack': [{ s: number }, {}],
 *   'session.renew': [{ token: string }, { expires: number }],
 *   'session.end': [{}, {}],
 *   'ping': [{}, { ts: number }],
 *   'room.create': [{ kind: RoomKind, name: string, members?: string[], topic?: string }, { room: RoomView }],
 *   'room.open_dm': [{ user: string }, { room: RoomView }],
 *   'room.get': [{ room: string }, { room: RoomView }],
 *   'room.members': [{ room: string, after?: string, limit?: number }, MembersReply],
 *   'room.update': [{ room: string, name?: string, topic?: string, slow_mode_ms?: number }, { room: RoomView }],
 *   'room.invite': [{ room: string, user: string }, {}],
 *   'room.join': [{ room: string }, { room: RoomView }],
 *   'room.leave': [{ room: string }, {}],
 *   'room.kick': [{ room: string, user: string }, {}],
 *   'room.ban': [{ room: string, user: string, until?: number }, {}],
 *   'room.unban': [{ room: string, user: string }, {}],
 *   'room.mute': [{ room: string, user: string, until?: number }, {}],
 *   'room.unmute': [{ room: string, user: string }, {}],
 *   'room.role': [{ room: string, user: string, role: Role }, {}],
 *   'room.sync': [{ room: string, epoch?: string, after?: number, limit?: number }, Synced],
 *   'room.watch': [{ room: string, on: boolean }, {}],
 *   'message.send': [{ room: string, nonce: string, text?: string, reply_to?: number, mentions?: string[], data?: unknown }, Appended],
 *   'message.edit': [{ room: string, seq: number, text: string, mentions?: string[] }, Appended],
 *   'message.delete': [{ room: string, seq: number }, Appended],
 *   'reaction.add': [{ room: string, seq: number, emoji: string }, Appended],
 *   'reaction.remove': [{ room: string, seq: number, emoji: string }, Appended],
 *   'typing': [{ room: string, on: boolean }, {}],
 *   'read': [{ room: string, seq: number }, { seq: number }],
 *   'presence.set': [PresenceSet, {}],
 * }} Ops
 */

/** @typedef {{ protocol: number, heartbeat_ms: number, max_frame_bytes: number, node: string }} Hello */
/** @typedef {{ code: number, reason: string, resume: boolean, delay_ms?: number }} Bye */

/**
 * How the connection stands.
 *
 * - `idle`: never connected.
 * - `connecting`: a socket is being opened for a new session.
 * - `resuming`: a socket is being opened, or is open, to take the session up again.
 * - `online`: commands go out, events come in.
 * - `offline`: waiting until `retryAt` to try again.
 * - `stopped`: will not try again by itself; `reason` says why.
 * @typedef {{ name: 'idle' }
 *   | { name: 'connecting', attempt: number }
 *   | { name: 'resuming', attempt: number }
 *   | { name: 'online' }
 *   | { name: 'offline', retryAt: number, attempt: number }
 *   | { name: 'stopped', reason: string, code?: number }} ConnectionState
 */

/** @typedef {'queued' | 'sending' | 'sent' | 'failed'} SendStatus */
/**
 * One message on its way out.
 * @typedef {object} Outgoing
 * @property {string} room
 * @property {string} nonce
 * @property {string} text
 * @property {number} [reply_to]
 * @property {string[]} [mentions]
 * @property {unknown} [data]
 * @property {number} ts when it was handed over
 * @property {SendStatus} status
 * @property {Error} [error] why it failed
 * @property {Appended} [appended] where it stands, once it was sent
 */

/**
 * News of the shop. The list of notices has it under the same id: show each id once.
 * @typedef {{ id: string, topic: string, ts: number, data: Record<string, any> }} ShopNotice
 */

/**
 * What a client can listen to. `started`: a new session began, its snapshot replaces what is known.
 * `entry`: each entry of each room, in order, once; it comes again under the name of its kind.
 * `reset`: drop what is held of the room and load afresh. `outgoing`: a message on its way out
 * changed its status.
 * @typedef {{
 *   'state': ConnectionState,
 *   'started': Started,
 *   'resumed': Resumed,
 *   'entry': { room: string, entry: Entry },
 *   'reset': { room: string, view?: RoomView },
 *   'outgoing': Outgoing,
 *   'message.new': RoomEntry,
 *   'message.edited': RoomEntry,
 *   'message.deleted': RoomEntry,
 *   'reaction.changed': RoomEntry,
 *   'room.member': RoomEntry,
 *   'room.updated': RoomEntry,
 *   'room.added': { room: RoomView },
 *   'room.removed': { room: string },
 *   'read': { room: string, user: string, seq: number },
 *   'typing': { room: string, user: string, on: boolean },
 *   'presence': { user: string } & PresenceView,
 *   'friend.changed': { user: UserRef, state: FriendState },
 *   'block.changed': { user: string, blocked: boolean },
 *   'profile.changed': { user: UserRef, avatar_url?: string, status_text?: string },
 *   'notice': ShopNotice,
 *   'bye': Bye,
 * }} ClientEvents
 */

/**
 * Time and chance, so that tests can hold them still.
 * @typedef {object} Clock
 * @property {() => number} now
 * @property {(run: () => void, ms: number) => unknown} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random at least 0, less than 1
 */

/**
 * The part of the web platform's WebSocket that is used.
 * @typedef {object} Socket
 * @property {string} binaryType
 * @property {number} readyState
 * @property {string} protocol
 * @property {((event: any) => void) | null} onopen
 * @property {((event: { data: any }) => void) | null} onmessage
 * @property {((event: any) => void) | null} onerror
 * @property {((event: { code: number, reason: string }) => void) | null} onclose
 * @property {(data: any) => void} send
 * @property {(code?: number, reason?: string) => void} close
 */
/** @typedef {new (url: string, protocols: string[]) => Socket} SocketClass */

export {};
