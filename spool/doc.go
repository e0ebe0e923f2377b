// Package spool keeps mail safe on disk between a mail server and a host application: the six spool directories, the
// documented file names, the delivery records (.ids files), the lock of a mailbox and the loopback state.
//
// Start with [New], which does no I/O; [Spool.Prepare] makes and checks the directories and every other method calls it
// by itself. A poller takes the mailbox with [Spool.Lock], reads what is known of a mail with [Mailbox.Lookup], tells
// what happened to it with [Mailbox.Append] and ends a confirmed session with [Mailbox.Prune].
//
// # What is durable when
//
//   - A file made by [Spool.CreateIncoming], [Spool.CreateAttachment] or [Spool.CreateOriginalText] has its final name
//     only once its bytes are on disk. Its name is on disk after [Spool.SyncDir], which is left to the caller so that
//     one directory sync serves many files.
//   - [Mailbox.Begin] and [Mailbox.Append] return nil only after their lines are on disk.
//   - [Spool.Move] and [Spool.WriteReason] return nil only after files and directories are on disk.
//   - A failed sync is final: the file is given up, or the [Mailbox] refuses every further Append. It is never tried
//     again and then called a success, because the kernel may have dropped the bytes.
//
// # Who owns a file
//
// Files made in a session that no delivery record names are rubbish and swept once the session is over, orderly or
// not. Files named by a record are kept until the record is done; from then on they are the host's for ever and never
// touched again, even when the record itself has been pruned. Sweeping looks only at files of sessions that this
// mailbox has claimed for itself (see format.md), so two programs with the same process id on a shared volume cannot
// sweep each other.
//
// # Safety
//
// Directories are 0700, files 0600, made with O_EXCL through [os.Root], and no symbolic link is followed. A directory
// that is a link, is not ours, may be written by group or others, or is on another file system is refused by name.
//
// The layout of an .ids file is a promise and is written down in format.md.
package spool
