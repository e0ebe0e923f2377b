// Package killtest runs a poller in a child process and kills it, to see that
// what it promised holds whatever dies.
//
// A test binary starts itself again as the child: its TestMain calls
// [ChildMain]. The child polls with a handler that writes what it was handed
// to a journal, opened with O_SYNC so that it outlives the process: the journal
// is the witness. On its way the child passes points, each with a name: every
// operation on the disk ("before sync current"), every command on the network
// ("send QUIT") and the steps of the handler. It reaches them through the seams
// that any host has (spool.WithFS, driver.WithDialer, the handler): there is
// nothing of this in the code under test. At the point that its [Job] names,
// the child stops in the middle of the step and says so; the parent then kills
// it, stops it, or lets it go on.
package killtest
