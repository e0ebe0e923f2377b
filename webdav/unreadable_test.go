package webdav

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// A mail that the server does not give is reported and left, and those behind
// it do not wait for it; a server that is in trouble as a whole ends the poll.
func TestUnreadableMail(t *testing.T) {
	t.Parallel()
	for status, alone := range map[int]bool{403: true, 423: true, 500: true, 429: false, 502: false, 503: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			for _, name := range []string{"one", "two", "three"} {
				srv.Add(letter(name))
			}
			var asked atomic.Int32
			srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, ".EML") {
					return false
				}
				if asked.Add(1) != 2 {
					return false
				}
				w.WriteHeader(status)
				return true
			})
			got, res, err := poll(t, newDriver(t, srv.Mailbox(), WithConnections(1)))
			if !alone {
				require.Error(t, err)
				assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{"one", "three"}, got)
			require.Len(t, res.Failures, 1)
			assert.Equal(t, status, codeOf(res.Failures[0].Err), "%v", res.Failures[0].Err)
			assert.Equal(t, 1, srv.Count("Inbox"), "it stays on the server")
		})
	}
}
