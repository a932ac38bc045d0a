/**
 * A cell of `%%experiment` or `%%group` as CodeMirror reads it: the magic's line by itself, and Python below it.
 *
 * Read as Python, the line is an expression that doesn't end: a quote or a bracket in it colours all of the cell.
 */
import { Language, languageDataProp } from '@codemirror/language';
import {
  type Input,
  NodeSet,
  NodeType,
  parseMixed,
  Parser,
  type PartialParse,
  Tree,
  type TreeFragment
} from '@lezer/common';
import { styleTags, tags } from '@lezer/highlight';

const HEAD = /^(?:[^\S\n]*\n)*%%(?:experiment|group)(?![\w.])[^\n]*\n?/; // as IPython: empty lines may stand above
const LONGEST = 10_000; // characters that a line may have
const WORD = /(?<Magic>%%\w+)|(?<Text>"[^"\n]*"?|'[^'\n]*'?)|(?<Option>(?<!\S)--?[a-zA-Z][\w-]*)|(?<Digits>(?<![\w.])[-+]?\d[\d.]*(?:[eE][-+]?\d+)?(?![\w.]))/g;
const WORDS = ['Magic', 'Text', 'Option', 'Digits'] as const;

/** A part of a cell, with where it stands. */
interface Part {
  readonly type: NodeType;
  readonly from: number;
  readonly to: number;
}

/** Python's language, which also knows cells of our magics: it has Python's own data, so that all else takes it for that. */
export function magicLanguage(python: Language): Language {
  return new Language(python.data, new MagicParser(python), [], python.name);
}

class MagicParser extends Parser {
  private readonly types: NodeSet;
  private readonly nested: ReturnType<typeof parseMixed>;

  constructor(private readonly python: Language) {
    super();
    const names = ['Cell', 'Head', 'Body', ...WORDS];
    const types = names.map((name, id) =>
      NodeType.define({ id, name, top: id === 0, props: id === 0 ? [[languageDataProp, python.data]] : [] })
    );
    this.types = new NodeSet(types).extend(
      styleTags({ Magic: tags.keyword, Text: tags.string, Option: tags.attributeName, Digits: tags.number })
    );
    this.nested = parseMixed((node) => (node.name === 'Body' ? { parser: python.parser } : null));
  }

  override createParse(
    input: Input,
    fragments: readonly TreeFragment[],
    ranges: readonly { from: number; to: number }[]
  ): PartialParse {
    const first = ranges[0];
    const from = first?.from ?? 0;
    const head = from === 0 ? HEAD.exec(input.read(0, Math.min(input.length, LONGEST))) : null;
    if (head === null || ranges.length > 1) {
      return this.python.parser.startParse(input, fragments, ranges);
    }
    return this.nested(new HeadParse(this.types, head[0], input.length), input, fragments, ranges);
  }
}

/** Parses the line at once, and leaves the rest to Python. */
class HeadParse implements PartialParse {
  stoppedAt: number | null = null;
  parsedPos = 0;

  constructor(
    private readonly types: NodeSet,
    private readonly head: string,
    private readonly length: number
  ) {}

  advance(): Tree {
    const end = this.head.length;
    this.parsedPos = this.stoppedAt ?? this.length;
    const words = partsOf(this.head, this.types).map(({ type, from, to }) => [new Tree(type, [], [], to - from), from] as const);
    const head = new Tree(
      this.type('Head'),
      words.map(([tree]) => tree),
      words.map(([, from]) => from),
      end
    );
    const body = new Tree(this.type('Body'), [], [], Math.max(0, this.parsedPos - end));
    return new Tree(this.type('Cell'), [head, body], [0, end], Math.max(end, this.parsedPos));
  }

  stopAt(position: number): void {
    this.stoppedAt = position;
  }

  private type(name: string): NodeType {
    return typeOf(this.types, name);
  }
}

/** The words of a magic's line that have a colour. */
function partsOf(head: string, types: NodeSet): Part[] {
  return [...head.matchAll(WORD)].flatMap((match) => {
    const name = WORDS.find((one) => match.groups?.[one] !== undefined);
    return name === undefined
      ? []
      : [{ type: typeOf(types, name), from: match.index, to: match.index + match[0].length }];
  });
}

function typeOf(types: NodeSet, name: string): NodeType {
  return types.types.find((one) => one.name === name) ?? NodeType.none;
}
