/** A question to a kernel on its control channel, which it hears while a cell keeps it busy: see `widgets/control.py`. */
import { type Kernel, KernelMessage } from '@jupyterlab/services';
import type { JSONObject } from '@lumino/coreutils';

const REQUEST = 'ml_experiment_request';
const LIMIT = 5000; // ms that an answer may take

/** A kernel that has not answered in time: it may the next time. */
export const LATE = Symbol('late');

/** What a kernel answers; null where it says that it can't, or has gone. */
export async function ask(kernel: Kernel.IKernelConnection, content: JSONObject): Promise<string | typeof LATE | null> {
  const message = KernelMessage.createMessage({
    channel: 'control',
    msgType: REQUEST as 'debug_request', // the types know no message of ours
    session: kernel.clientId,
    username: kernel.username,
    content: content as unknown as KernelMessage.IDebugRequestMsg['content']
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<typeof LATE>((resolve) => {
    timer = setTimeout(resolve, LIMIT, LATE);
  });
  try {
    const future = kernel.sendControlMessage(message, true, true);
    const reply = await Promise.race([future.done, late]);
    if (reply === LATE) {
      future.dispose();
      return LATE;
    }
    const answer = reply.content as unknown as { status?: string; message?: string };
    return answer.status === 'ok' && answer.message !== undefined ? answer.message : null;
  } catch {
    return null; // it is dead, or is left for another
  } finally {
    clearTimeout(timer);
  }
}
