// What a benchmark has found out about a goal, and what that comes to. Pure.
import { type Goal, type GoalName, goalOf } from './goals.ts';
import { pairRatios, type Summary, summarise } from './statistics.ts';

export interface Sample {
  readonly name: string;
  /** In ms; of a bound in its unit. */
  readonly values: readonly number[];
}

export interface Finding {
  readonly goal: GoalName;
  readonly ours: Sample;
  /** In turns with ours. */
  readonly peer?: Sample | undefined;
  /** The bare system calls. */
  readonly limit?: Sample | undefined;
  /** Measured beside, for who wants to know. */
  readonly beside?: readonly Sample[];
  readonly note?: string;
}

/** Why something could not be measured here. */
export interface Skipped {
  readonly goal: GoalName;
  readonly skipped: string;
}

export type Result = Finding | Skipped;

export interface Verdict {
  readonly goal: Goal;
  /** What is held to the goal: a ratio, or a figure in the goal's unit. */
  readonly value: number;
  readonly isReached: boolean;
  /** Worse than the goal by half, which no noise explains. */
  readonly isFar: boolean;
  readonly ours: Summary;
  readonly peer: Summary | undefined;
  /** Of the single pairs. */
  readonly ratios: Summary | undefined;
  /** How many times as long as the bare system calls. */
  readonly aboveLimit: number | undefined;
}

const FAR = 1.5;

export function judge({ goal: name, ours, peer, limit }: Finding): Verdict {
  const goal = goalOf(name);
  const of = goal.of ?? 'median';
  const our = summarise(ours.values);
  const their = peer && summarise(peer.values);
  if (goal.peer !== undefined && their === undefined) throw new Error(`${name}: nothing of its peer`);
  const value = their === undefined || goal.peer === undefined ? our[of] : our[of] / their[of];
  return {
    goal,
    value,
    isReached: value <= goal.most,
    isFar: value > goal.most * FAR,
    ours: our,
    peer: their,
    ratios: peer && summarise(pairRatios(ours.values, peer.values)),
    aboveLimit: limit && our.median / summarise(limit.values).median,
  };
}

export const isSkipped = (result: Result): result is Skipped => 'skipped' in result;
