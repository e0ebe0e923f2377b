package pop3_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// maker is the New of a conformance server.
func maker(addr string, opts ...driver.Option) func(...driver.Option) (driver.Driver, error) {
	return func(more ...driver.Option) (driver.Driver, error) {
		d, err := pop3.New(addr, append(append([]driver.Option{}, opts...), more...)...)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
}

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name      string
		positions int
		fake      []pop3test.Option
	}{
		{"plain", 30, nil},
		{"STLS and PIPELINING", 15, []pop3test.Option{pop3test.WithSTLS(), pop3test.WithPipelining()}},
		{"no UIDL", 8, []pop3test.Option{pop3test.WithoutUIDL()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: c.positions, Start: func(t *testing.T) *drivertest.Server {
				srv := pop3test.NewServer(c.fake...)
				t.Cleanup(func() {
					srv.Close()
					if c.name != "no UIDL" { // which the driver has to try to know
						assert.Empty(t, srv.Violations())
					}
				})
				opts := []driver.Option{driver.WithLogin(pop3test.User, pop3test.Password), driver.WithInsecureAuth()}
				if c.name == "STLS and PIPELINING" {
					opts = append(opts, driver.WithSecurity(driver.SecurityExplicit), driver.WithRootCAs(srv.RootCAs()))
				}
				return &drivertest.Server{
					New: maker(srv.Addr, opts...),
					Add: func(raw ...[]byte) {
						for _, r := range raw {
							srv.Add(r)
						}
					},
					Left: func() int { return len(srv.Messages()) },
				}
			}})
		})
	}
}

// TestConformanceLab puts the driver through the same cases on Dovecot.
func TestConformanceLab(t *testing.T) {
	lab := labtest.Find(t)
	users := make(chan string, 10)
	for i := range cap(users) {
		users <- fmt.Sprintf("u%d", 20+i)
	}
	drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: 6, Start: func(t *testing.T) *drivertest.Server {
		user := <-users
		t.Cleanup(func() { users <- user })
		box := lab.Mailbox(t, user)
		return &drivertest.Server{
			New:  maker(lab.Addr(t, "LAB_POP3"), driver.WithLogin(user, labtest.Password(user)), driver.WithInsecureAuth()),
			Add:  box.Append,
			Left: box.Count,
		}
	}})
}
