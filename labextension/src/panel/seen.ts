/** What is put off while nobody looks at the page. */

/** Call it now, or once the page is seen again; the result takes that back. */
export function whenSeen(call: () => void): () => void {
  if (!document.hidden) {
    call();
    return () => undefined;
  }
  const onChange = (): void => {
    if (!document.hidden) {
      document.removeEventListener('visibilitychange', onChange);
      call();
    }
  };
  document.addEventListener('visibilitychange', onChange);
  return () => {
    document.removeEventListener('visibilitychange', onChange);
  };
}
