package spool_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/internal/simdisk"
	"github.com/maildriver/maildriver/spool"
)

func FuzzImport(f *testing.F) {
	f.Add("support@example.com@mail.example.com 0001aa\nann@x y\n", "support@example.com")
	f.Add("uid\x001\n77/1\x002\n", "a")
	f.Add("\x00\x00\n@ \n", "")
	f.Fuzz(func(t *testing.T, text, user string) {
		if len(text) > 1<<16 {
			t.Skip()
		}
		s, err := spool.New("/spool", spool.WithFS(simdisk.New(1))) // a real one is too slow for a fuzzer
		require.NoError(t, err)
		defer s.Close()
		box, err := s.Lock(spool.MailboxID{Protocol: "POP3", Server: "mail.example.com", Account: "ann"})
		require.NoError(t, err)
		lines := strings.Count(text, "\n") + 1
		for _, run := range []func() (spool.ImportResult, error){
			func() (spool.ImportResult, error) { return box.ImportFetchmail(strings.NewReader(text), user, "") },
			func() (spool.ImportResult, error) { return box.ImportGetmail(strings.NewReader(text)) },
		} {
			res, err := run()
			require.NoError(t, err)
			require.LessOrEqual(t, res.Imported+res.Known+res.Other+res.Malformed, lines)
		}
		require.NoError(t, box.Unlock())
	})
}
