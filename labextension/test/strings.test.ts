/** What people read is given to the translator: no text stands in the source as it is shown. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import * as ts from 'typescript';

const SHOWN = ['label', 'caption', 'title', 'tooltip', 'body', 'message', 'placeholder', 'aria-label', 'alt'];
const CODE = ['code', 'pre'];
const SOURCE = join(process.cwd(), 'src');
const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name));

/** Whether a node is a text with words in it. */
function isText(node: ts.Node | undefined): boolean {
  if (node !== undefined && ts.isConditionalExpression(node)) {
    return isText(node.whenTrue) || isText(node.whenFalse);
  }
  if (node !== undefined && (ts.isArrowFunction(node) || ts.isParenthesizedExpression(node))) {
    return isText(ts.isArrowFunction(node) ? node.body : node.expression);
  }
  return node !== undefined && (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) && /[a-z]{2}/i.test(node.text);
}

/** Whether it is shown as it is. */
function isBare(node: ts.Node): boolean {
  if (ts.isJsxText(node)) {
    const tag = ts.isJsxElement(node.parent) ? node.parent.openingElement.tagName.getText() : '';
    return /[a-z]{2}/i.test(node.text) && !CODE.includes(tag);
  }
  if (ts.isPropertyAssignment(node) || ts.isJsxAttribute(node)) {
    return SHOWN.includes(node.name.getText().replace(/['"]/g, '')) && isText(node.initializer);
  }
  if (ts.isBinaryExpression(node) && ts.isPropertyAccessExpression(node.left)) {
    return SHOWN.includes(node.left.name.text) && isText(node.right);
  }
  return ts.isCallExpression(node) && node.expression.getText().startsWith('Notification.') && isText(node.arguments[0]);
}

function bare(node: ts.Node, file: ts.SourceFile): string[] {
  const here = isBare(node) ? [`${file.fileName}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}: ${node.getText().trim()}`] : [];
  const inside: string[] = [];
  node.forEachChild((child) => {
    inside.push(...bare(child, file));
  });
  return [...here, ...inside];
}

function bareIn(name: string, text: string): string[] {
  const file = ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true, ts.ScriptKind.TSX);
  return bare(file, file);
}

test('no text is shown that isn’t given to the translator', () => {
  assert.ok(files.length > 30);
  assert.deepEqual(files.flatMap((name) => bareIn(name, readFileSync(join(SOURCE, name), 'utf8'))), []);
});

test('one that is would be found', () => {
  const wrong = ["const a = { label: 'Copy' };", '<p>Loading it</p>;', '<a title="Open" />;', "b.title.label = 'Runs';", "Notification.info('Done');", "const a = { label: () => (live ? trans.__('a') : 'Show Live') };"];
  wrong.forEach((line) => {
    assert.equal(bareIn('x.tsx', line).length, 1, line);
  });
});
