package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// How many streams are opened at a time.
const opening = 64

// The end of a stream.
type end struct {
	kind string
	at   time.Time
	// Why it is not the end that is due.
	wrong string
}

// All streams of a run.
type streams struct {
	mutex sync.Mutex
	ended []end
}

// open opens a stream for each token, and waits until each has its first event.
func open(address string, tokens []string) *streams {
	all := &streams{}
	transport := &http.Transport{Protocols: new(http.Protocols), MaxIdleConnsPerHost: 1}
	transport.Protocols.SetHTTP1(*protocol == "h1")
	transport.Protocols.SetUnencryptedHTTP2(*protocol == "h2")
	client := &http.Client{Transport: transport}
	seats := make(chan struct{}, opening)
	var begun sync.WaitGroup
	for number, token := range tokens {
		seats <- struct{}{}
		begun.Add(1)
		go func() {
			first := sync.OnceFunc(func() {
				begun.Done()
				<-seats
			})
			kind, read := "events", func() string { return readEvents(client, address, token, first) }
			if number >= *events {
				kind, read = "websocket", func() string { return readMessages(address, token, first) }
			}
			wrong := read()
			all.mutex.Lock()
			defer all.mutex.Unlock()
			all.ended = append(all.ended, end{kind, time.Now(), wrong})
			first()
		}()
	}
	begun.Wait()
	all.mutex.Lock()
	defer all.mutex.Unlock()
	for _, end := range all.ended {
		log.Fatalf("a stream of %s ended at once: %s", end.kind, end.wrong)
	}
	return all
}

func (it *streams) done() []end {
	it.mutex.Lock()
	defer it.mutex.Unlock()
	return it.ended
}

// readEvents reads a stream until it ends. It is due that it breaks off: more would follow.
func readEvents(client *http.Client, address, token string, first func()) string {
	request, err := http.NewRequest("GET", "http://"+address+"/events", nil)
	check(err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return response.Status
	}
	buffer := make([]byte, 64)
	for {
		length, err := response.Body.Read(buffer)
		if length > 0 {
			first()
		}
		if err == io.ErrUnexpectedEOF || err != nil && strings.Contains(err.Error(), "received from peer") {
			return ""
		}
		if err != nil {
			return err.Error()
		}
	}
}

// readMessages reads a WebSocket until it ends. It is due that a close frame has the code 4401.
func readMessages(address, token string, first func()) string {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer connection.Close()
	fmt.Fprintf(connection, "GET /socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n",
		address, token)
	reader := bufio.NewReaderSize(connection, 512)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err.Error()
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return response.Status
	}
	for {
		var header [2]byte
		if _, err := io.ReadFull(reader, header[:]); err != nil {
			return "no close frame: " + err.Error()
		}
		payload := make([]byte, header[1])
		if _, err := io.ReadFull(reader, payload); err != nil {
			return "half a frame: " + err.Error()
		}
		first()
		if header[0] == 0x88 {
			if code := binary.BigEndian.Uint16(payload); code != 4401 {
				return fmt.Sprintf("close code %d", code)
			}
			return ""
		}
	}
}
