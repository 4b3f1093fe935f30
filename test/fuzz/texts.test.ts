// Every text that comes from outside, damaged: it is read as something, or refused by the error that its reader names. A
// TypeError, or a text that keeps the reader busy for ever, would be a defect that an author can use.
import { expect } from 'chai';
import fc from 'fast-check';
import { currentIn, formatRecord, parseRecord } from '../../src/journal/record.ts';
import { MountError } from '../../src/mount/errors.ts';
import { escapeLayer, parseLowerdir } from '../../src/mount/layers.ts';
import { parseMountinfo } from '../../src/mount/mountinfo.ts';
import { parseOptions, splitOptions } from '../../src/mount/options.ts';
import { PolicyFileError, readPolicy } from '../../src/policy/read.ts';
import { parseEndpoint } from '../../src/rpc/endpoint.ts';
import { parsePodRecord } from '../../src/userns/kubelet-record.ts';
import {
  formatIdMapping,
  formatKernelMap,
  MappingError,
  parseIdMapping,
  parseKernelMap,
} from '../../src/userns/mapping.ts';
import { isPodUid, podUidOfTarget } from '../../src/userns/pod-uid.ts';
import { cases } from '../support/cases.ts';
import {
  ENDPOINTS,
  KERNEL_MAPS,
  LOWERDIRS,
  MAPPINGS,
  MOUNTINFO,
  OPTION_LISTS,
  POD_RECORDS,
  POLICIES,
  RECORDS,
  TARGETS,
} from './corpus.ts';
import { damagedText } from './damage.ts';

interface Form {
  readonly title: string;
  readonly corpus: readonly string[];
  /** May throw what `refusal` says, and nothing else; checks what it has read. */
  readonly read: (text: string) => void;
  readonly refusal?: (error: unknown) => boolean;
  /** Cases of a short run. */
  readonly usual: number;
}

/** For readers that throw no error of a class of their own: but none that the language throws at a defect. */
const isPlainError = (error: unknown): boolean => error instanceof Error && error.constructor === Error;

const FORMS: readonly Form[] = [
  {
    title: 'mount options',
    corpus: OPTION_LISTS,
    read: (text) => {
      const options = splitOptions(text);
      const read = parseOptions(options);
      expect(parseOptions(options)).to.deep.equal(read);
    },
    refusal: (error) => error instanceof MountError && error.reason === 'invalid-mount',
    usual: 600,
  },
  {
    title: 'layers',
    corpus: LOWERDIRS,
    read: (text) => {
      const layers = parseLowerdir(text, 'lowerdir');
      const again = layers.map(
        ({ path, dataOnly }, i) => `${i === 0 ? '' : dataOnly ? '::' : ':'}${escapeLayer(path)}`,
      );
      expect(parseLowerdir(again.join(''), 'lowerdir')).to.deep.equal(layers);
    },
    refusal: (error) => error instanceof MountError && error.reason === 'invalid-mount',
    usual: 500,
  },
  {
    title: 'id mappings',
    corpus: MAPPINGS,
    read: (text) => {
      const mapping = parseIdMapping(text, 'uidmap');
      expect(parseIdMapping(formatIdMapping(mapping), 'uidmap')).to.deep.equal(mapping);
    },
    refusal: (error) => error instanceof MappingError,
    usual: 500,
  },
  {
    title: 'id mappings of the kernel',
    corpus: KERNEL_MAPS,
    read: (text) => {
      const mapping = parseKernelMap(text, 'uid_map');
      expect(parseKernelMap(formatKernelMap(mapping), 'uid_map')).to.deep.equal(mapping);
    },
    refusal: (error) => error instanceof MappingError,
    usual: 300,
  },
  {
    title: 'mountinfo',
    corpus: MOUNTINFO,
    read: (text) => {
      for (const { target, type, id } of parseMountinfo(text)) {
        expect(`${target}${type}`).to.be.a('string');
        expect(id).to.be.a('number').and.satisfy(Number.isSafeInteger, 'an id is a number');
      }
    },
    refusal: isPlainError,
    usual: 400,
  },
  {
    title: "kubelet's record of a pod",
    corpus: POD_RECORDS,
    read: (text) => expect(parsePodRecord(text).is).to.be.oneOf(['mapped', 'none', 'invalid']),
    usual: 500,
  },
  {
    title: 'records of the journal',
    corpus: RECORDS,
    read: (text) => {
      const record = parseRecord(currentIn(text));
      expect(parseRecord(formatRecord(record))).to.deep.equal(JSON.parse(JSON.stringify(record)));
    },
    refusal: (error) => error instanceof Error && !/^(Type|Range|Reference)Error$/.test(error.name),
    usual: 500,
  },
  {
    title: 'policy files',
    corpus: POLICIES,
    read: (text) => expect(readPolicy(text).rules).to.be.an('array'),
    refusal: (error) => error instanceof PolicyFileError,
    usual: 80,
  },
  {
    title: 'endpoints',
    corpus: ENDPOINTS,
    read: (text) => expect(parseEndpoint(text)).to.not.match(/\0|\/$/),
    refusal: isPlainError,
    usual: 200,
  },
  {
    title: 'target paths',
    corpus: TARGETS,
    read: (text) => {
      const uid = podUidOfTarget('/var/lib/kubelet', text);
      if (uid !== undefined) expect(isPodUid(uid)).to.equal(true);
    },
    usual: 200,
  },
];

describe('damaged texts', () => {
  for (const { title, corpus, read, refusal = () => false, usual } of FORMS) {
    it(`${title}: read or refused`, () => {
      // What is not damaged is read, or this tries nothing but refusals.
      for (const text of corpus) expect(() => read(text), text).to.not.throw();
      fc.assert(
        fc.property(damagedText(corpus), (text) => {
          try {
            read(text);
          } catch (error) {
            if (!refusal(error)) throw error;
          }
        }),
        { numRuns: cases(usual) },
      );
    });
  }
});
