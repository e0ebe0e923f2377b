package pop3

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// TestMemoryIsFlat: what a mail costs does not depend on its size. The fake is
// in this process too, and counts.
func TestMemoryIsFlat(t *testing.T) {
	srv := newServer(t, pop3test.WithPipelining())
	for _, size := range []int64{1 << 20, 64 << 20} {
		srv.AddMail(pop3test.Mail{Open: sized(size)})
	}
	mb := openBox(t, srv.Addr)
	ids := mustList(t, mb)
	cost := make([]uint64, len(ids))
	for i, id := range ids {
		_, cost[i] = measure(t, func() (n int64) {
			require.NoError(t, mb.Fetch(t.Context(), []driver.ID{id}, func(_ driver.ID, r io.Reader) (err error) {
				n, err = io.Copy(io.Discard, r)
				return err
			}))
			return n
		})
	}
	assert.Less(t, cost[1], cost[0]+1<<20, "64 MiB cost %d bytes, 1 MiB %d", cost[1], cost[0])
}

func BenchmarkFetch(b *testing.B) {
	srv := newServer(b, pop3test.WithPipelining())
	const size = 32 << 20
	srv.AddMail(pop3test.Mail{Open: sized(size)})
	mb := openBox(b, srv.Addr)
	ids := mustList(b, mb)
	b.SetBytes(size)
	for b.Loop() {
		require.NoError(b, mb.Fetch(b.Context(), ids, func(_ driver.ID, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}))
	}
}
