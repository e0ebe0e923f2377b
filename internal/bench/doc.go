// Command bench measures what durability costs: 10 KB mails through the whole inbound pipeline, every file, name and
// record on disk before it counts, beside a loop that writes, syncs, renames and syncs the directory for one mail after
// the other, which is the least a program can do that takes no care of groups.
//
//	go run . [-dir DIR] [-mails N] [-rounds N] [-want RATIO]
//
// The two take turns, so that a change of the machine's mood hits both; medians are compared. With -want it exits 1 when
// the pipeline is not that many times as fast. The benchmarks of this module measure the same and more:
//
//	go test -bench . -run '^$'
//
// It is a module of its own, so that nothing needed only here reaches a host.
package main
