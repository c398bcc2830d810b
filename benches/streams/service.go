package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// How often the service sends an event to each stream.
const pause = 10 * time.Second

// serve begins the service behind the sidecar, and gives its address.
func serve() string {
	routes := http.NewServeMux()
	routes.HandleFunc("/events", sendEvents)
	routes.HandleFunc("/socket", sendMessages)
	routes.HandleFunc("/small", func(answer http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(answer, "small")
	})
	server := &http.Server{Handler: routes, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { check(server.Serve(listener)) }()
	return listener.Addr().String()
}

func sendEvents(answer http.ResponseWriter, request *http.Request) {
	answer.Header().Set("Content-Type", "text/event-stream")
	flusher := answer.(http.Flusher)
	ticks := time.NewTicker(pause)
	defer ticks.Stop()
	for {
		if _, err := io.WriteString(answer, "data: an event\n\n"); err != nil {
			return
		}
		flusher.Flush()
		select {
		case <-ticks.C:
		case <-request.Context().Done():
			return
		}
	}
}

// sendMessages serves a WebSocket (RFC 6455) that sends text, and reads nothing but the end.
func sendMessages(answer http.ResponseWriter, request *http.Request) {
	digest := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	connection, buffered, err := answer.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(digest[:]))
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, bufio.NewReaderSize(buffered, 16))
		close(ended)
	}()
	ticks := time.NewTicker(pause)
	defer ticks.Stop()
	for {
		_, _ = buffered.WriteString("\x81\x07message")
		if buffered.Flush() != nil {
			return
		}
		select {
		case <-ticks.C:
		case <-ended:
			return
		}
	}
}
