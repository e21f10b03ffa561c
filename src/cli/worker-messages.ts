/** What workers and the process that watches them say to each other. All of it is ours, on a channel nobody else has. */

export type FromWorker =
  | { readonly say: 'serving'; readonly place: Place }
  /** It cannot start, and what is wrong is for the operator to read. */
  | { readonly say: 'refused'; readonly message: string }
  /** `own`: its own metrics, for the time when it is gone. */
  | { readonly say: 'ask'; readonly id: number; readonly topic: string; readonly about: string; readonly own: unknown }
  | { readonly say: 'answer'; readonly id: number; readonly value: unknown }

export type ToWorker =
  /** `notice`: tell load balancers first. */
  | { readonly say: 'stop'; readonly notice: boolean }
  | { readonly say: 'ask'; readonly id: number; readonly topic: string; readonly about: string }
  | { readonly say: 'answers'; readonly id: number; readonly values: readonly unknown[] }

/** Where the gateway is, and how long it may take to end. */
export interface Place {
  readonly publicUrl: string
  readonly adminUrl: string
  /** Milliseconds. */
  readonly patience: number
}

/** Longest time that an answer is waited for, in milliseconds. */
export const longestAnswer = 1_000
