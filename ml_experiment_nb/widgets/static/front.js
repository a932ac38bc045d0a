// The runs that none is better than.

// goals: [{ number(row), isMore }]. A run is left out if another is as good in all goals, and better in one.
export function paretoFront(rows, goals) {
  const costs = rows.map((row) => ({ row, costs: goals.map((goal) => (goal.isMore ? -goal.number(row) : goal.number(row))) }));
  costs.sort((a, b) => {
    for (let k = 0; k < goals.length; k += 1) if (a.costs[k] !== b.costs[k]) return a.costs[k] - b.costs[k];
    return 0;
  });
  const front = []; // what comes later is never better than what is in it, for the first goal is sorted
  for (const one of costs) if (!front.some((other) => dominates(other.costs, one.costs))) front.push(one);
  return front.map((one) => one.row);
}

function dominates(one, other) {
  let isBetter = false;
  for (let k = 0; k < one.length; k += 1) {
    if (one[k] > other[k]) return false;
    if (one[k] < other[k]) isBetter = true;
  }
  return isBetter;
}
