package ews_test

import (
	"testing"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
	"github.com/maildriver/maildriver/ews"
	"github.com/maildriver/maildriver/ews/ewstest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		positions int
		fake      []ewstest.Option
		opts      func(t *testing.T) []driver.Option
	}{
		{"delete", 8, nil, nil},
		{"2007, moved to Deleted Items", 4, []ewstest.Option{ewstest.WithVersion(8, 1, 436), ewstest.With2007Prefixes()}, func(*testing.T) []driver.Option {
			return []driver.Option{ews.WithDelete(ews.MoveToDeletedItems)}
		}},
		{"synchronised, moved", 4, []ewstest.Option{ewstest.WithPageLimit(2)}, func(t *testing.T) []driver.Option {
			return []driver.Option{ews.WithSyncState(t.TempDir()), ews.WithMoveTo("MsgFolderRoot/Done"), ews.WithRequestSize(1)}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: c.positions, Start: func(t *testing.T) *drivertest.Server {
				srv := ewstest.NewServer(c.fake...)
				t.Cleanup(srv.Close)
				srv.AddFolder("MsgFolderRoot/Done")
				opts := []driver.Option{driver.WithLogin(ewstest.User, ewstest.Password), driver.WithRootCAs(srv.RootCAs())}
				if c.opts != nil {
					opts = append(opts, c.opts(t)...)
				}
				return &drivertest.Server{
					New: func(more ...driver.Option) (driver.Driver, error) {
						d, err := ews.New(srv.URL, append(append([]driver.Option{}, opts...), more...)...)
						if err != nil {
							return nil, err
						}
						return d, nil
					},
					Add:  srv.Add,
					Left: func() int { return srv.Count("Inbox") },
					From: ewstest.User,
					To:   []string{"desk@example.com", "bob@example.com"},
					Sent: func() (list [][]byte) {
						for _, m := range srv.Sent() {
							list = append(list, m.MIME)
						}
						return list
					},
				}
			}})
		})
	}
}
