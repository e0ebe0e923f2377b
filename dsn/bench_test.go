package dsn

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maildriver/maildriver/mime"
)

// BenchmarkResult tells what the analysis costs on top of parsing: for a mail
// that is no report, which is most mail, and for one in free text.
func BenchmarkResult(b *testing.B) {
	qmail, err := os.ReadFile(filepath.Join("testdata", "bounces", "qmail.eml"))
	if err != nil {
		b.Fatal(err)
	}
	for name, in := range map[string]string{
		"person": "From: ann@example.com\nSubject: Minutes\nContent-Type: text/plain; charset=utf-8\n\n" + strings.Repeat("Here are the minutes of our meeting, as promised to bea@example.com.\n", 200),
		"bounce": string(qmail),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			var c Collector
			root, err := mime.Parse(strings.NewReader(in), &c)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				c.Result(root)
			}
		})
	}
}
