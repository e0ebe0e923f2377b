package webdav_test

import (
	"testing"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
	"github.com/maildriver/maildriver/webdav"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

// maker is the New of a conformance server.
func maker(addr string, opts ...driver.Option) func(...driver.Option) (driver.Driver, error) {
	return func(more ...driver.Option) (driver.Driver, error) {
		d, err := webdav.New(addr, append(append([]driver.Option{}, opts...), more...)...)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		positions int
		fake      []webdavtest.Option
		opts      []driver.Option
	}{
		{"2003, Basic, deleted", 12, nil, []driver.Option{driver.WithInsecureAuth()}},
		{"2003, form, TLS, trash", 4, []webdavtest.Option{webdavtest.WithForms(), webdavtest.WithTLS()}, []driver.Option{webdav.WithTrash(), webdav.WithConnections(1)}},
		{"2007, form, localised, moved", 4, []webdavtest.Option{webdavtest.WithVersion(webdavtest.Exchange2007), webdavtest.WithForms(), webdavtest.WithLocalised(), webdavtest.WithInternalHost("exch01")}, []driver.Option{
			driver.WithInsecureAuth(), driver.WithMechanisms("FORM"), webdav.WithMoveTo("MsgFolderRoot/Done"),
		}},
		{"2007, NTLM, TLS", 2, []webdavtest.Option{webdavtest.WithVersion(webdavtest.Exchange2007), webdavtest.WithNTLM(), webdavtest.WithTLS()}, []driver.Option{driver.WithMechanisms("DEFAULT"), webdav.WithConnections(1)}},
		{"2003, saved copies", 4, nil, []driver.Option{driver.WithInsecureAuth(), webdav.WithSaveSent(true)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: c.positions, Start: func(t *testing.T) *drivertest.Server {
				srv := webdavtest.NewServer(c.fake...)
				t.Cleanup(srv.Close)
				srv.AddFolder("Done")
				opts := append([]driver.Option{driver.WithLogin(webdavtest.User, webdavtest.Password), driver.WithRootCAs(srv.RootCAs())}, c.opts...)
				return &drivertest.Server{
					New: maker(srv.Mailbox(), opts...), Add: srv.Add, Left: srv.Left,
					// Saved copies go to whom the header names, and blind copies.
					From: webdavtest.Address, To: []string{"desk@example.com", "carol@example.com"},
					Sent: func() (list [][]byte) {
						srv.Settled()
						for _, m := range srv.Sent() {
							list = append(list, m.Data)
						}
						return list
					},
				}
			}})
		})
	}
}
