package ews

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/internal/simdisk"
	"github.com/maildriver/maildriver/spool"
)

func offsets(srv *ewstest.Server) (list []string) {
	for _, r := range srv.Operations("FindItem") {
		list = append(list, r.Attrs("IndexedPageItemView", "Offset")...)
	}
	return list
}

// E8: the next page begins behind what has come, not behind what was asked for.
func TestE8ShortPages(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(15)
	srv.Add(raw...)
	pages := []int{7, 3, 5}
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "FindItem" && len(pages) > 0 {
			srv.SetPageLimit(pages[0])
			pages = pages[1:]
		}
		return nil
	})
	var h taker
	res := poll(t, newDriver(t, srv, WithPageSize(10)), &h)
	assert.Equal(t, subjects, h.subjects)
	assert.Equal(t, 15, res.Listed)
	assert.Equal(t, []string{"0", "7", "10"}, offsets(srv))
	assert.Equal(t, []string{"10"}, srv.Operations("FindItem")[0].Attrs("IndexedPageItemView", "MaxEntriesReturned"))
}

func rootFolder(items, last string, total int) *ewstest.Response {
	return ewstest.Answer("FindItem", fmt.Sprintf(`<m:FindItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:RootFolder TotalItemsInView="%d" IncludesLastItemInRange="%s"><t:Items>%s</t:Items></m:RootFolder></m:FindItemResponseMessage>`, total, last, items))
}

// E9: a listing that promises more and gives nothing has an end.
func TestE9EmptyPages(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(mail("one"))
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "FindItem" {
			return rootFolder("", "false", 5)
		}
		return nil
	})
	_, err := newDriver(t, srv).Poll(t.Context(), new(taker))
	require.Error(t, err)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	assert.Len(t, srv.Operations("FindItem"), 2)

	srv = newServer(t)
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "SyncFolderItems" {
			return ewstest.Answer("SyncFolderItems", `<m:SyncFolderItemsResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:SyncState>x</m:SyncState><m:IncludesLastItemInRange>false</m:IncludesLastItemInRange><m:Changes/></m:SyncFolderItemsResponseMessage>`)
		}
		return nil
	})
	_, err = newDriver(t, srv, WithSyncState(t.TempDir())).Poll(t.Context(), new(taker))
	require.ErrorIs(t, err, errStuck)
	assert.Len(t, srv.Operations("SyncFolderItems"), 2)

	// One empty page may be: a server over its budget gives short ones.
	srv = newServer(t)
	srv.Add(mail("one"))
	srv.Intercept(ewstest.Nth("FindItem", 1, rootFolder("", "false", 1)))
	var h taker
	poll(t, newDriver(t, srv), &h)
	assert.Equal(t, []string{"one"}, h.subjects)
}

// E10: nothing is skipped or handed over twice while mails are deleted.
func TestE10ManyMails(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithPageLimit(250))
	n := 2500
	raw, subjects := mails(n)
	srv.Add(raw...)
	d := newDriver(t, srv, inMemory(t), driver.WithBatchSize(1000), driver.WithDeleteProcessed(true), WithRequestSize(100))
	var h taker
	for i := range 3 {
		res := poll(t, d, &h)
		assert.Equal(t, i < 2, res.More)
	}
	assert.Equal(t, subjects, h.subjects)
	assert.Zero(t, srv.Count("Inbox"))
}

// Mails that others remove while the folder is listed shift the pages: then it
// is listed again, so that what is there does not look gone.
func TestChangesWhileListing(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithPageLimit(2))
	raw, _ := mails(6)
	srv.Add(raw...)
	d := newDriver(t, srv, driver.WithLeaveOnServer(true))
	var h taker
	poll(t, d, &h)
	require.Len(t, h.subjects, 6)
	first := srv.Items("Inbox")[0].ID
	n := 0
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "FindItem" {
			if n++; n == 2 {
				srv.RemoveItem(first)
			}
		}
		return nil
	})
	res := poll(t, d, &h)
	assert.Equal(t, 5, res.Known)
	assert.Len(t, h.subjects, 6)
	poll(t, d, &h)
	assert.Len(t, h.subjects, 6, "a mail was taken for gone and came again")
}

func TestListingIsBounded(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, _ := mails(11)
	srv.Add(raw...)
	for _, opts := range [][]driver.Option{nil, {WithSyncState(t.TempDir())}} {
		_, err := newDriver(t, srv, append(opts, WithMaxListing(10))...).Poll(t.Context(), new(taker))
		require.ErrorIs(t, err, driver.ErrLimit)
	}
	assert.Equal(t, 11, srv.Count("Inbox"))
}

// Without changes a synchronised folder costs one request with nothing in it.
func TestSync(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithPageLimit(4))
	dir := t.TempDir()
	raw, subjects := mails(10)
	srv.Add(raw...)
	d := newDriver(t, srv, WithSyncState(dir), driver.WithLeaveOnServer(true))
	var h taker
	poll(t, d, &h)
	assert.Equal(t, subjects, h.subjects)
	assert.Len(t, srv.Operations("SyncFolderItems"), 3)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err := os.Stat(files[0])
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	srv.ForgetRequests()
	res := poll(t, d, &h)
	assert.Equal(t, 10, res.Known)
	assert.Equal(t, "SyncFolderItems", operations(srv))

	items := srv.Items("Inbox")
	srv.RemoveItem(items[3].ID)
	srv.ChangeItem(items[4].ID, true)
	srv.Add(mail("new"))
	res = poll(t, d, &h)
	assert.Equal(t, 9, res.Known)
	assert.Equal(t, 10, res.Listed)
	assert.Equal(t, "new", h.subjects[10])

	// Removing takes the mails out of the state as well.
	res = poll(t, d, &h, driver.WithLeaveOnServer(false))
	assert.Equal(t, 10, res.Removed)
	srv.ForgetRequests()
	assert.Zero(t, poll(t, d, &h).Listed)
	assert.Len(t, h.subjects, 11)
}

// A state file that is not whole, or another's, counts as missing.
func TestSyncStateFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := driver.Source{Protocol: "EWS", Server: "a", Account: "b", Folder: "Inbox"}
	load := func() *syncState {
		st, err := loadSyncState(dir, src)
		require.NoError(t, err)
		return st
	}
	st := load()
	st.state, st.dirty = "state\n with <line end>", true
	for i := range 100 {
		id := driver.ID(fmt.Sprintf("id %d €", i))
		st.items[id] = item{id: id, key: "k", size: int64(i), read: i%2 == 0, received: time.Unix(int64(i), 0).UTC()}
	}
	require.NoError(t, st.save())
	again := load()
	assert.Equal(t, st.state, again.state)
	assert.Equal(t, st.items, again.items)
	require.NoError(t, again.save(), "nothing to do")
	require.NoError(t, os.WriteFile(st.path+".123.part", []byte("x"), 0o600))
	assert.Equal(t, st.items, load().items)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	assert.Equal(t, []string{st.path}, files, "what a killed process left")
	whole, err := os.ReadFile(st.path)
	require.NoError(t, err)
	for _, n := range []int{0, 1, 10, len(whole) / 2, len(whole) - 2, len(whole) - 20} {
		require.NoError(t, os.WriteFile(st.path, whole[:n], 0o600))
		assert.Empty(t, load().state, "cut at %d", n)
		assert.Empty(t, load().items, "cut at %d", n)
	}
	for i := 0; i < len(whole)-1; i += 97 {
		bad := slices.Clone(whole)
		bad[i] ^= 1
		require.NoError(t, os.WriteFile(st.path, bad, 0o600))
		assert.Empty(t, load().items, "byte %d", i)
	}
	require.NoError(t, os.WriteFile(st.path, whole, 0o600))
	src.Folder = "Inbox/Other"
	assert.Empty(t, load().items)
	_, err = loadSyncState(filepath.Join(st.path, "below a file"), src)
	require.Error(t, err)
	assert.Equal(t, driver.KindLocal, driver.KindOf(err))
}

// E12: a state that the server no longer knows costs a listing, and no mail comes
// twice.
func TestE12InvalidSyncState(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(5)
	srv.Add(raw...)
	d := newDriver(t, srv, WithSyncState(t.TempDir()), driver.WithLeaveOnServer(true))
	var h taker
	poll(t, d, &h)
	srv.ForgetSyncStates("Inbox")
	srv.Add(mail("new"))
	srv.ForgetRequests()
	res := poll(t, d, &h)
	assert.Equal(t, append(subjects, "new"), h.subjects)
	assert.Equal(t, 5, res.Known)
	assert.Equal(t, "SyncFolderItems SyncFolderItems GetItem", operations(srv))
	srv.ForgetRequests()
	assert.Zero(t, poll(t, d, &h).Delivered)
	assert.Equal(t, "SyncFolderItems", operations(srv))
}

// E11: a process that is killed between two batches of a synchronised folder.
func TestE11KilledBetweenBatches(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithPageLimit(4))
	raw, sums := killtest.Mails(12)
	srv.Add(raw...)
	dir := t.TempDir()
	job := killtest.Job{
		Root: filepath.Join(dir, "spool"), Journal: filepath.Join(dir, "journal"), Batch: 4,
		Server: map[string]string{"addr": srv.PlainURL, "mode": "sync", "state": filepath.Join(dir, "state")},
	}
	j := job
	j.Point, j.Nth = "journaled", 8 // the last mail of batch 2: it was handed over, and nobody knows
	c := killtest.Start(t, j)
	require.Equal(t, "journaled", c.Stopped())
	c.Kill()
	killtest.Start(t, job).Done()
	entries := killtest.ReadJournal(t, job.Journal)
	assert.Equal(t, 1, killtest.Check(t, entries, sums))
	require.Len(t, entries, 13)
	assert.Equal(t, entries[7].Subject, entries[8].Subject)
	assert.True(t, entries[8].Redelivered)
	assert.Equal(t, 12, srv.Count("Inbox"))
}

// E13: a path is looked up once, one folder at a time, and what is wrong with it
// is told.
func TestE13Paths(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.AddFolder("Inbox/Sub")
	srv.AddFolder("Inbox/Sub/Deep")
	srv.AddItem("Inbox/Sub/Deep", ewstest.Item{Raw: mail("one")})
	d := newDriver(t, srv, WithFolder("INBOX/Sub/Deep"))
	var h taker
	poll(t, d, &h)
	assert.Equal(t, []string{"one"}, h.subjects)
	assert.Len(t, srv.Operations("FindFolder"), 2)
	srv.ForgetRequests()
	poll(t, d, &h)
	assert.Equal(t, "FindItem", operations(srv))

	_, err := newDriver(t, srv, WithFolder("Inbox/Sub/Missing")).Poll(t.Context(), &h)
	require.ErrorIs(t, err, ErrFolderNotFound)
	require.ErrorContains(t, err, `"Missing"`)
	assert.Equal(t, driver.KindPermanent, driver.KindOf(err))

	srv.AddFolder("Inbox/Sub")
	_, err = newDriver(t, srv, WithFolder("Inbox/Sub/Deep")).Poll(t.Context(), &h)
	require.ErrorIs(t, err, ErrFolderAmbiguous)
	require.ErrorContains(t, err, `"Sub"`)

	// A folder that is moved away is looked up once more.
	srv.RemoveFolder("Inbox/Sub")
	srv.AddFolder("Inbox/Sub/Deep")
	srv.AddItem("Inbox/Sub/Deep", ewstest.Item{Raw: mail("two")})
	srv.RemoveFolder("Inbox/Sub/Deep")
	srv.AddFolder("Inbox/Sub/Deep")
	srv.AddItem("Inbox/Sub/Deep", ewstest.Item{Raw: mail("three")})
	poll(t, d, &h)
	assert.Equal(t, "three", h.subjects[len(h.subjects)-1])
	srv.RemoveFolder("Inbox/Sub/Deep")
	_, err = d.Poll(t.Context(), &h)
	require.ErrorIs(t, err, ErrFolderNotFound)
	// Not for ever, where a server contradicts itself.
	srv.AddFolder("Inbox/Sub/Deep")
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "FindItem" {
			return ewstest.Refusal("FindItem", "ErrorFolderNotFound", "", 0, 1)
		}
		return nil
	})
	srv.ForgetRequests()
	for range 2 {
		_, err = d.Poll(t.Context(), &h)
		require.ErrorIs(t, err, ErrFolderNotFound)
	}
	assert.Len(t, srv.Operations("FindItem"), 4)
}

func TestFolderNames(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithPageLimit(3))
	for i := range 7 {
		srv.AddFolder(fmt.Sprintf("Inbox/Folder %d", i))
	}
	srv.AddFolder("Inbox/Support")
	srv.AddFolder("Inbox/SUPPORT")
	srv.AddFolder("Inbox/Größe & <Co>")
	srv.AddFolderNamed("Inbox", `A/B\C`)
	for path, want := range map[string]string{
		"inbox/Support":      "Inbox/Support", // as it is goes before without case
		"Inbox/SUPPORT":      "Inbox/SUPPORT",
		"Inbox/folder 6":     "Inbox/Folder 6",
		"Inbox/Größe & <Co>": "Inbox/Größe & <Co>",
	} {
		srv.AddItem(want, ewstest.Item{Raw: mail(path)})
		var h taker
		poll(t, newDriver(t, srv, WithFolder(path)), &h)
		assert.Equal(t, []string{path}, h.subjects)
	}
	_, err := newDriver(t, srv, WithFolder("Inbox/support")).Poll(t.Context(), new(taker))
	require.ErrorIs(t, err, ErrFolderAmbiguous)
	var h taker
	poll(t, newDriver(t, srv, WithFolder(`Inbox/A\/B\\C`)), &h)

	for _, bad := range []string{"", "Support", "Inbox/", "/Inbox", "Inbox//A", `Inbox/A\`, `Inbox/A\x`, "Inbox/a\x00", strings.Repeat("Inbox/", 70) + "x"} {
		_, err := New("exchange.example.com", driver.WithLogin("a@example.com", "b"), WithFolder(bad))
		assert.Equal(t, driver.KindConfig, driver.KindOf(err), "%q", bad)
	}
	_, err = New("exchange.example.com", driver.WithLogin("a@example.com", "b"), WithFolder("Support/Urgent"))
	require.ErrorContains(t, err, "MsgFolderRoot/Support/Urgent")
}

// Every well-known folder has the id of the schema, and is asked for only where
// the server has it. E14 is among them.
func TestE14WellKnownFolders(t *testing.T) {
	t.Parallel()
	builds := map[Version][3]int{
		Exchange2007: {8, 0, 685}, Exchange2007SP1: {8, 1, 436}, Exchange2010: {14, 0, 639}, Exchange2010SP1: {14, 1, 218},
		Exchange2013: {15, 0, 516}, Exchange2013SP1: {15, 0, 847},
	}
	assert.Len(t, wellKnown, 28)
	servers := map[Version]*ewstest.Server{}
	for v, b := range builds {
		servers[v] = newServer(t, ewstest.WithVersion(b[0], b[1], b[2]))
	}
	for name, since := range wellKnown {
		for v, srv := range servers {
			srv.ForgetRequests()
			d := newDriver(t, srv, WithFolder(strings.ToUpper(name)))
			mb, err := d.open(t.Context(), &d.set)
			if err == nil {
				for _, lerr := range mb.List(t.Context()) {
					require.NoError(t, lerr)
				}
				require.NoError(t, mb.Close())
			}
			asked := false
			for _, r := range srv.Requests() {
				for _, id := range r.Attrs("DistinguishedFolderId", "Id") {
					asked = asked || id == strings.ToLower(name) && (name != "MsgFolderRoot" || r.Operation == "FindItem")
				}
			}
			if v < since {
				require.ErrorIs(t, err, ErrVersion, "%s on %v", name, v)
				assert.False(t, asked, "%s on %v", name, v)
				continue
			}
			require.NoError(t, err, "%s on %v", name, v)
			assert.True(t, asked, "%s on %v", name, v)
		}
	}
}

// inMemory keeps the spool in memory: the durability of many small files is not
// what is tested here, and costs time.
func inMemory(t *testing.T) driver.Option {
	t.Helper()
	sp, err := spool.New("/spool", spool.WithFS(simdisk.New(1)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	return driver.WithSpool(sp)
}

// 10,000 mails that stay on the server: each comes once, over several sessions,
// and a session without news costs one request. As a rule most of them are read
// and not wanted; MAILDRIVER_EXHAUSTIVE has all handed over.
func TestTenThousandMails(t *testing.T) {
	t.Parallel()
	if testing.Short() || underRace {
		t.Skip("10,000 mails")
	}
	srv := newServer(t)
	n, wanted, batch := 10_000, 500, 200
	if os.Getenv("MAILDRIVER_EXHAUSTIVE") != "" {
		wanted, batch = n, 4000
	}
	raw, subjects := mails(n)
	for i, r := range raw {
		srv.AddItem("Inbox", ewstest.Item{Raw: r, Read: i < n-wanted})
	}
	subjects = subjects[n-wanted:]
	d := newDriver(t, srv, inMemory(t), WithUnread(true), driver.WithBatchSize(batch), driver.WithLeaveOnServer(true), driver.WithDeleteProcessed(true), WithRequestSize(100), WithSyncState(t.TempDir()))
	var h taker
	for i := range 3 {
		assert.Equal(t, i < 2, poll(t, d, &h).More)
	}
	assert.Equal(t, subjects, h.subjects)
	srv.ForgetRequests()
	start := time.Now()
	res := poll(t, d, &h)
	assert.Equal(t, n, res.Listed)
	assert.Equal(t, wanted, res.Known)
	assert.Equal(t, "SyncFolderItems", operations(srv))
	t.Logf("a session without news in a folder of %d: %v", n, time.Since(start))
}
