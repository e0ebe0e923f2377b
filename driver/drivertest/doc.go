// Package drivertest checks that a driver keeps the promises of package
// driver, as testing/slogtest does for log handlers: [Run] puts it through a
// suite of cases, each of which tells when it fails why it exists.
//
// A [Harness] says how to get a server and a driver for it; the suite finds
// out what the driver can do ([driver.CapabilitiesOf]) and leaves out the
// cases that do not concern it. Faults are injected in the network and in the
// file system that the suite gives the driver ([driver.WithDialer],
// [spool.WithFS]), never in the server: the same cases run against a fake and
// against a real server.
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, drivertest.Harness{
//			Start: func(t *testing.T) *drivertest.Server {
//				srv := pop3test.NewServer()
//				t.Cleanup(srv.Close)
//				return &drivertest.Server{
//					New: func(opts ...driver.Option) (driver.Driver, error) { ... },
//					Add: ...,
//					Left: ...,
//				}
//			},
//		})
//	}
//
// What the suite holds against every poll: each mail is handed over, in the
// order of the server; what was handed over once more is marked as such and
// has the same id and files; a mail that the handler took is never handed over
// again; the bytes are those of the server; no file is left that nobody owns.
// Against every send: what the receipt says agrees with what the server has.
//
// [NewMemory] is a mail server in memory with a driver of its own, which
// passes the suite: for tests of handlers, and of the suite.
package drivertest
