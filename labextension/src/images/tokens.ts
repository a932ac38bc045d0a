/** The command that others call. */
export const EXPORT = 'ml-experiment-nb:export-image';
