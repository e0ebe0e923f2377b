package spool

// A together is a Dir that can make many of its files durable in one go, for less than a sync each.
type together interface {
	// syncTogether returns an error for each file, nil for one that is durable; or false, and has done nothing that counts.
	// The first file was opened before the others.
	syncTogether(files []File) ([]error, bool)
}

// An earlySyncer is a File that can begin writing to the disk without waiting. A sync right behind it then has less to
// do, and on a journalling file system many share one commit.
type earlySyncer interface{ startSync() error }
