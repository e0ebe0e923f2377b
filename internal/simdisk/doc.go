// Package simdisk is a disk in memory for tests: a [spool.FS] that keeps apart what programs see and what would survive
// a power cut, and that fails where it is told to.
//
// # What survives a power cut
//
// The bytes of a file survive once File.Sync returned nil, a name once Dir.Sync of its directory did. Of everything else
// a seeded choice survives: any subset of the sectors written since the last sync, zeros in place of the others, a write
// torn at any byte, any subset of the names made, renamed and removed. There is one mercy, which every journalling or
// copy-on-write file system grants: the old name of a renamed file does not go by itself before the new one is there.
// Dir.Sync of the old directory alone, however, makes the old name go for certain and the new one not.
//
// A failed File.Sync is final as on Linux: the bytes stay readable and count as clean, no later sync writes them. A
// failed Dir.Sync changes nothing and may be tried again. Directories are durable when made, see spool.FS.MkdirAll.
//
// # Power cuts and faults
//
// [Disk.CutPowerAt] and [Disk.KillAt] end everything at the Nth change: the operation happens or not, and it and all
// that follow return [ErrDown] until [Disk.Reboot]. [Disk.Fail] makes operations fail with an error, once or for good.
// [Disk.Lie] makes operations claim a success that did not happen; a test that still passes then proves nothing.
package simdisk
