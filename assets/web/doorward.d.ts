/** Somebody who is signed in. */
export interface User {
  id: string;
  email: string;
  /** Whether an admin, or an invitation to it, says that the address is theirs. */
  emailVerified: boolean;
  role: string;
  permissions: string[];
  createdAt: string;
}

/** What was refused. `code` is the server's `error`; the client's own are NETWORK, UNEXPECTED and USER_CHANGED. */
export class DoorwardError extends Error {
  name: 'DoorwardError';
  code: string;
  /** The HTTP status; 0 when there was no answer. */
  status: number;
  requestId?: string;
  /** Seconds to wait before another try. */
  retryAfter?: number;
  /** Which fields were refused and why. */
  fields?: { field: string; message: string }[];
  expiredAt?: string;
  requiredRoles?: string[];
  requiredPermission?: string;
}

export interface Options {
  /** Where Doorward is; the module's own origin unless said otherwise. */
  baseUrl?: string;
  /** Origins besides this page's and Doorward's that `fetch` may send the access token to. */
  origins?: string[];
  /** Used for every request, to trace or to test; the global `fetch` unless said otherwise. */
  fetch?: typeof globalThis.fetch;
}

/** Why the user changed: what happened here, or the code the server ended the session with. */
export type Reason = 'signed-in' | 'signed-out' | 'changed' | (string & {});

export interface Doorward {
  /** Resolves when it is known who is signed in, or that the server cannot be reached. Never rejects. */
  readonly ready: Promise<void>;
  /** Who is signed in; null: nobody; undefined: not known (yet, or because the server cannot be reached). */
  readonly user: User | null | undefined;
  /** Seconds left of the access token. */
  readonly expiresIn: number;
  /** An access token that is good for a while, for what `fetch` cannot do; null when nobody is signed in. */
  token(): Promise<string | null>;
  /** Renews the access token now. Calls at the same time share one request. */
  refresh(): Promise<void>;
  /** `fetch` with the access token, renewed in time, and one more try after a 401. */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  /** Calls Doorward's API with the access token: JSON in, JSON out, DoorwardError for a refusal. */
  call(method: string, path: string, json?: unknown): Promise<any>;
  register(form: { email: string; password: string; invite?: string }): Promise<User>;
  /** Makes the first admin, with the token of a set-up link. */
  setup(form: { token: string; email: string; password: string }): Promise<User>;
  login(form: { email: string; password: string }): Promise<User>;
  /** Signs out this browser, all its tabs. */
  logout(): Promise<void>;
  /** Signs out every device of this user. */
  logoutAll(): Promise<void>;
  /** Every session of the user ends, and a new one begins here. */
  changePassword(form: { currentPassword: string; newPassword: string }): Promise<void>;
  /** Tells of every change of `user`. Returns how to stop. */
  onChange(listener: (user: User | null | undefined, reason?: Reason) => void): () => void;
  /** Lets go of timers, listeners and the channel to other tabs. Signs nobody out. */
  close(): void;
}

export function createDoorward(options?: Options): Doorward;

/**
 * Reads the header or the claims of a token. The account page's own need, no part of the client's API: it may go.
 * @internal
 */
export function decodeTokenPart(part: string): any;
