// Compiled, never run: what doorward.d.ts declares and what doorward.js is must fit each other in both directions, so
// that a member that is only in one of them, or differs, is an error here.

import type * as declared from '../../assets/web/doorward.d.ts';
import type * as source from 'doorward-source';

/** An error type unless both are the same names. */
type SameKeys<A, B> = [keyof A, keyof B] extends [keyof B, keyof A]
  ? true
  : { missing: Exclude<keyof A, keyof B>; undeclared: Exclude<keyof B, keyof A> };

// Declared without values: nothing here is run.
declare const is: { declared: typeof declared; source: typeof source };

export const exportsAreTheSame: SameKeys<typeof declared, typeof source> = true;
export const membersAreTheSame: SameKeys<declared.Doorward, ReturnType<typeof source.createDoorward>> = true;
export const clientIsAsDeclared: typeof declared.createDoorward = is.source.createDoorward;
export const clientIsAllThatIsDeclared: typeof source.createDoorward = is.declared.createDoorward;
export const decoderIsAsDeclared: typeof declared.decodeTokenPart = is.source.decodeTokenPart;
export const decoderIsAllThatIsDeclared: typeof source.decodeTokenPart = is.declared.decodeTokenPart;
export const errorIsAsDeclared: Pick<declared.DoorwardError, keyof source.DoorwardError> =
  is.source.DoorwardError.prototype;
