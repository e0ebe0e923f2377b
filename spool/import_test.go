package spool

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestImportFetchmail(t *testing.T) {
	const file = "support@example.com@mail.example.com 0001aa\n" +
		"SUPPORT@example.com@MAIL.example.com\t0002bb  \n" +
		"support@example.com@mail.example.com 0001aa\n" + // twice
		"ann@mail.example.com 0003cc\n" + // another mailbox
		"support@example.com@mail.example.com.evil.test 0004dd\n" +
		"support@example.com@mail.example.com\n" + // no id
		"support@example.com@mail.example.com 0005 ee\n" + // two words
		"garbage\n" +
		"\n" +
		"support@example.com@mail.example.com 0006ff" // no newline
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	res, err := box.ImportFetchmail(strings.NewReader(file), "", "")
	require.NoError(t, err)
	assert.Equal(t, ImportResult{Imported: 3, Known: 1, Other: 2, Malformed: 3}, res)
	res, err = box.ImportFetchmail(strings.NewReader(file), "ann", "Mail.Example.com")
	require.NoError(t, err)
	assert.Equal(t, 1, res.Imported)
	require.NoError(t, box.Unlock())

	box = mustLock(t, s)
	for key, want := range map[string]bool{"0001aa": true, "0002bb": true, "0003cc": true, "0006ff": true, "0004dd": false, "0005": false} {
		rec, ok := box.Lookup(key)
		assert.Equal(t, want, ok, key)
		if ok {
			assert.Equal(t, StateDone, rec.State, key)
		}
	}
	res, err = box.ImportFetchmail(strings.NewReader(file), "", "")
	require.NoError(t, err)
	assert.Equal(t, 4, res.Known, "a second import changes nothing")
	assert.Zero(t, res.Imported)
}

func TestImportGetmail(t *testing.T) {
	long := strings.Repeat("x", 100)
	pop := "uid-1\x001700000000\n" +
		"uid with blank\x001700000000\r\n" +
		long + "\x001700000000\n" +
		"no time\n" +
		"bad time\x00soon\n" +
		"\x001700000000\n" +
		strings.Repeat("y", 10_000) + "\x001\n" +
		"uid-2\x001700000001\n"
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	res, err := box.ImportGetmail(strings.NewReader(pop))
	require.NoError(t, err)
	assert.Equal(t, ImportResult{Imported: 4, Malformed: 4}, res)
	require.NoError(t, box.Unlock())
	box = mustLock(t, s)
	for _, key := range []string{"uid-1", "uid with blank", long, "uid-2"} {
		_, ok := box.Lookup(key)
		assert.True(t, ok, "%q", key)
	}

	imapID := testID
	imapID.Protocol = "IMAP"
	imap, err := s.Lock(imapID)
	require.NoError(t, err)
	t.Cleanup(func() { _ = imap.Unlock() })
	res, err = imap.ImportGetmail(strings.NewReader("77/1\x001\n77/Some/Folder/2\x001\n77/x\x001\n3\x001\n"))
	require.NoError(t, err)
	assert.Equal(t, ImportResult{Imported: 2, Malformed: 2}, res)
	for _, key := range []string{"77.1", "77.2"} {
		_, ok := imap.Lookup(key)
		assert.True(t, ok, key)
	}
}

func TestImportErrors(t *testing.T) {
	s := newSpool(t, tempRoot(t), WithIDsLimit(1<<10))
	box := mustLock(t, s)
	broken := errors.New("broken")
	res, err := box.ImportGetmail(io.MultiReader(strings.NewReader("a\x001\nb\x001\n"), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
	assert.Equal(t, 2, res.Imported, "what came before is kept")

	var big *SizeError
	_, err = box.ImportGetmail(strings.NewReader(strings.Repeat("abcdefg\x001\n", 200)))
	require.ErrorAs(t, err, &big)
	assert.EqualValues(t, 1<<10, big.Limit)

	require.NoError(t, box.Begin(s.NewService(1)))
	_, err = box.ImportFetchmail(strings.NewReader(""), "", "")
	require.ErrorIs(t, err, ErrSession)
	require.NoError(t, box.Unlock())
	_, err = box.ImportFetchmail(strings.NewReader(""), "", "")
	require.ErrorIs(t, err, ErrUnlocked)
}

func TestImportOfManyIDsIsMergedOnTheWay(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	var b strings.Builder
	const n = importCompact + 5
	for i := range n {
		fmt.Fprintf(&b, "uid-%d\x001\n", i)
	}
	res, err := box.ImportGetmail(strings.NewReader(b.String()))
	require.NoError(t, err)
	assert.Equal(t, n, res.Imported)
	assert.Len(t, box.changed, 5)
	require.NoError(t, box.Unlock())
	box = mustLock(t, s)
	for _, i := range []int{0, importCompact - 1, importCompact, n - 1} {
		assert.True(t, box.has(fmt.Sprintf("uid-%d", i)), i)
	}
}
