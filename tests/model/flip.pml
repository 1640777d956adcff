/* The flip (design.md section 9) with everything that may go wrong around it: the proxy is killed
 * at any step and started again, replies are lost while the COMMIT is still on its way, and
 * writers write to either database at any time, through a stale proxy or past it.
 *
 * What it claims, over all interleavings within the budgets below:
 *   - never do both databases take writes;
 *   - a database that takes writes has every write that was ever acknowledged;
 *   - a flip that was undone is not decided afterwards by a COMMIT that arrives late;
 *   - when the trouble stops, exactly one database is primary and the other is fenced.
 * `run` also breaks the protocol on purpose (-DBREAK_...), and expects a counterexample each time.
 */

#define CRASHES 2       /* of the proxy */
#define LOSSES 2        /* replies to a COMMIT */
#define FLIPS 2         /* there and back again */
#define BATCHES 1       /* of the mirror loop, besides those of the flips */
#define WRITERS 2
#define TRIES 2         /* of each writer, on a side of its own choice each time */

/* Durable, on each side. */
bool primary[2];        /* pgjanus.state.role */
bool fenced[2];         /* trigger this_database_is_now_the_mirror */
byte epoch[2];
byte batch[2];          /* of the stored boundary */
byte data[2];           /* one bit for each write */

/* What the servers hold for open transactions. */
byte writers[2];        /* writers that hold a lock on the journal */
bool barred[2];         /* LOCK TABLE pgjanus.journal by a control transaction */
bool bar_orphaned[2];   /* its proxy is gone; the server will notice */
bool deciding[2];       /* the COMMIT of the fence is on its way, nobody hears of it */
bool readied[2];        /* the promotion is open: the state row is locked */
bool ready_orphaned[2];
bool promoting[2];      /* the COMMIT of the promotion is on its way */
bool applying;          /* a batch of a proxy that died may still arrive */
byte apply_side, apply_epoch, apply_batch, apply_data;

byte acknowledged;      /* by a database to whoever wrote */
byte writers_done;
byte crashes = CRASHES, losses = LOSSES;

/* Step 5: what its COMMIT does on the old primary. */
inline fence(s) {
  fenced[s] = true; primary[s] = false; epoch[s]++; barred[s] = false
}
/* Step 6: what its COMMIT does on the new primary; nothing when it is done. */
inline promotion(s) {
  if
  :: !primary[s] && epoch[s] + 1 == epoch[1 - s] ->
     primary[s] = true; fenced[s] = false; epoch[s] = epoch[1 - s]; batch[s] = 0; batch[1 - s] = 0
  :: else
  fi;
  readied[s] = false
}

proctype Writer(byte mark) {
  byte tries = TRIES, s;
  do
  :: tries == 0 -> break
  :: tries > 0 ->
     tries--;
     if :: s = 0 :: s = 1 fi;
     atomic { !barred[s] -> writers[s]++ };       /* INSERT INTO the journal takes its lock ... */
     if
     :: atomic { fenced[s] -> writers[s]-- }      /* ... and then meets the fence. */
     :: atomic { !fenced[s] ->
          data[s] = data[s] | mark; acknowledged = acknowledged | mark;
          writers[s]-- }
     :: atomic { writers[s]-- }                   /* Gives up, or dies. */
     fi
  od;
  writers_done++
}

/* What a server does later, on its own, for connections that nobody listens to any more. */
proctype Server(byte s) {
end:
  do
  :: atomic { deciding[s] -> deciding[s] = false; fence(s) }
  :: atomic { deciding[s] -> deciding[s] = false; barred[s] = false }
  :: atomic { bar_orphaned[s] -> bar_orphaned[s] = false; barred[s] = false }
  :: atomic { promoting[s] -> promoting[s] = false; promotion(s) }
  :: atomic { promoting[s] -> promoting[s] = false; readied[s] = false }
  :: atomic { ready_orphaned[s] -> ready_orphaned[s] = false; readied[s] = false }
  :: atomic { applying && apply_side == s -> applying = false;
       if
       :: !primary[s] && epoch[s] == apply_epoch && batch[s] == apply_batch ->
          data[s] = apply_data; batch[s]++
       :: else
       fi }
  od
}

/* SIGKILL between two steps: what we held is left to the servers. */
#define MAY_DIE if :: true :: atomic { crashes > 0 -> crashes--; goto die } fi

proctype Proxy() {
  byte old, new, seen, snapshot, at, flips = FLIPS, batches = BATCHES;
  bool barring, readying;

start:                                            /* recover(): router/recovery.cpp */
  MAY_DIE;
  atomic {
    if
    :: primary[0] && primary[1] -> assert(false)
    :: primary[0] && !primary[1] -> old = 0
    :: !primary[0] && primary[1] -> old = 1
    :: !primary[0] && !primary[1] ->
       assert(epoch[0] == epoch[1] + 1 || epoch[1] == epoch[0] + 1);  /* Else: refuse. */
       old = (epoch[0] > epoch[1] -> 0 : 1); new = 1 - old; goto promote
    fi;
    new = 1 - old
  }

serve:
  do
  :: atomic { !primary[old] -> goto start }       /* The heartbeat or a write met the fence. */
  :: atomic { batches > 0 -> batches--; goto mirror }
  :: atomic { flips > 0 -> flips--; goto bar }
  :: atomic { flips == 0 && batches == 0 && writers_done == WRITERS && primary[old] &&
              !deciding[0] && !deciding[1] && !promoting[0] && !promoting[1] -> break }
  od;
  assert(primary[old] && !fenced[old] && !primary[new] && fenced[new]);
  goto done;

mirror:                                           /* One batch: snapshot here, later there. */
  atomic { seen = epoch[new]; at = batch[new]; snapshot = data[old] };
  if
  :: true
  :: atomic { crashes > 0 && !applying -> crashes--;
       applying = true; apply_side = new; apply_epoch = seen; apply_batch = at;
       apply_data = snapshot; goto die }
  fi;
  atomic {
    if
    :: !primary[new] && epoch[new] == seen && batch[new] == at -> data[new] = snapshot; batch[new]++
    :: else
    fi
  };
  goto serve;

bar:                                              /* Steps 1 and 2. */
  if
  :: atomic { !barred[old] && writers[old] == 0 -> barred[old] = true; barring = true }
  :: true -> goto serve                           /* Lock timeout: undone. */
  fi;
  MAY_DIE;
#ifndef BREAK_STALE_BAR
  if                                              /* Under the lock: is it still the primary? */
  :: primary[old]
  :: else -> goto undo
  fi;
#endif
  MAY_DIE;

#ifndef BREAK_NO_DRAIN
drain:                                            /* Step 3. */
  atomic { seen = epoch[new]; at = batch[new]; snapshot = data[old] };
  MAY_DIE;
  atomic {
    if
    :: !primary[new] && epoch[new] == seen && batch[new] == at -> data[new] = snapshot; batch[new]++
    :: else -> goto drain
    fi
  };
  MAY_DIE;
#endif

  if                                              /* Step 4. */
  :: atomic { !readied[new] -> readied[new] = true; readying = true }
  :: true -> goto undo
  fi;
  MAY_DIE;
#ifdef BREAK_PROMOTE_FIRST
  atomic { primary[new] = true; fenced[new] = false; epoch[new]++ };
#endif

  if                                              /* Step 5: the decision. */
  :: atomic { true -> fence(old); barring = false }
  :: true -> goto undo                            /* Refused: it certainly did not commit. */
  :: atomic { crashes > 0 -> crashes--; deciding[old] = true; barring = false; goto die }
  :: atomic { losses > 0 -> losses--; deciding[old] = true; barring = false; goto ask }
  :: atomic { losses > 0 -> losses--; fence(old); barring = false; goto ask }
  fi;
  MAY_DIE;
  goto promote;

ask:
#ifdef BREAK_UNDO_IN_DOUBT
  goto undo;
#endif
  MAY_DIE;
#ifndef BREAK_ASK_WITHOUT_LOCK
  !barred[old];                                   /* A conflicting lock waits for the COMMIT. */
#endif
  if
  :: atomic { !primary[old] -> goto promote }
  :: atomic { primary[old] -> goto undo }
  fi;

promote:                                          /* Step 6; any proxy, as often as it takes. */
  MAY_DIE;
  if
  :: atomic { readying -> promotion(new); readying = false }
  :: atomic { !readying && !readied[new] -> promotion(new) }
  :: atomic { losses > 0 && readying -> losses--; readying = false; promoting[new] = true;
       goto promote }
  fi;
  assert(primary[new]);                           /* So no round through `start` is in vain. */
  MAY_DIE;
  atomic { old = new; new = 1 - old };
  goto serve;

undo:                                             /* The gate opens here: it must stay undone. */
  assert(!deciding[old]);
  MAY_DIE;
  atomic {
    if :: barring -> barred[old] = false; barring = false :: else fi;
    if :: readying -> readied[new] = false; readying = false :: else fi
  };
  goto serve;

die:
  atomic {
    if :: barring -> bar_orphaned[old] = true; barring = false :: else fi;
    if :: readying -> ready_orphaned[new] = true; readying = false :: else fi;
    old = 0; new = 0; seen = 0; snapshot = 0; at = 0
  };
  goto start;

done:
  skip
}

/* Enabled only by a breach, so it costs no states. */
proctype Monitor() {
end:
  if
  :: atomic { !fenced[0] && !fenced[1] -> assert(false) }
  :: atomic { !fenced[0] && (acknowledged & ~data[0]) != 0 -> assert(false) }
  :: atomic { !fenced[1] && (acknowledged & ~data[1]) != 0 -> assert(false) }
  fi
}


init {
  atomic {
    primary[0] = true; fenced[1] = true;
    run Monitor(); run Server(0); run Server(1); run Proxy(); run Writer(1); run Writer(2)
  }
}
