package imap_test

import (
	"fmt"
	"testing"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/internal/labtest"
)

// maker is the New of a conformance server.
func maker(addr string, opts ...driver.Option) func(...driver.Option) (driver.Driver, error) {
	return func(more ...driver.Option) (driver.Driver, error) {
		d, err := imap.New(addr, append(append([]driver.Option{}, opts...), more...)...)
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
		fake      []imaptest.Option
		opts      []driver.Option
	}{
		{"delete", 12, nil, nil},
		{"STARTTLS, no MOVE, moved", 4, []imaptest.Option{imaptest.WithStartTLS(), imaptest.Without("MOVE"), imaptest.WithFolders("Done")}, []driver.Option{imap.WithMoveTo("Done")}},
		{"TLS, moved, no ESEARCH", 4, []imaptest.Option{imaptest.WithTLS(), imaptest.Without("ESEARCH"), imaptest.WithFolders("Done")}, []driver.Option{imap.WithMoveTo("Done")}},
		{"no UIDPLUS, plain EXPUNGE", 4, []imaptest.Option{imaptest.Without("UIDPLUS")}, []driver.Option{imap.WithPlainExpunge()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: c.positions, Start: func(t *testing.T) *drivertest.Server {
				srv := imaptest.NewServer(c.fake...)
				t.Cleanup(srv.Close)
				opts := []driver.Option{driver.WithLogin(imaptest.User, imaptest.Password), driver.WithRootCAs(srv.RootCAs())}
				switch c.name[:3] {
				case "STA":
					opts = append(opts, driver.WithSecurity(driver.SecurityExplicit))
				case "TLS":
					opts = append(opts, driver.WithSecurity(driver.SecurityImplicit))
				default:
					opts = append(opts, driver.WithInsecureAuth())
				}
				return &drivertest.Server{
					New:  maker(srv.Addr, append(opts, c.opts...)...),
					Add:  srv.Add,
					Left: func() int { srv.Settled(); return srv.Count(imaptest.Inbox) },
				}
			}})
		})
	}
}

// TestConformanceLab puts the driver through the same cases on Dovecot.
func TestConformanceLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	users := make(chan string, 4)
	for i := range cap(users) {
		users <- fmt.Sprintf("u%d", 10+i)
	}
	drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: 4, Start: func(t *testing.T) *drivertest.Server {
		user := <-users
		t.Cleanup(func() { users <- user })
		box := lab.Mailbox(t, user)
		return &drivertest.Server{
			New:  maker(lab.Addr(t, "LAB_IMAP"), driver.WithLogin(user, labtest.Password(user)), driver.WithInsecureAuth()),
			Add:  box.Append,
			Left: box.Count,
		}
	}})
}
