/* The tutorial's publisher or subscriber with Paho C.
 *
 * Usage: tutorial_paho pub|sub PORT FOLDER USER TOPIC [TEXT]; sub prints one message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <MQTTClient.h>

enum { WAIT_MS = 60000 };

static void check(int code, const char *what)
{
    if (code != MQTTCLIENT_SUCCESS) {
        fprintf(stderr, "%s: %d %s\n", what, code, MQTTClient_strerror(code) ? MQTTClient_strerror(code) : "");
        exit(1);
    }
}

static void receive(MQTTClient client, const char *topic)
{
    char *name = NULL;
    int name_bytes = 0;
    MQTTClient_message *message = NULL;
    check(MQTTClient_subscribe(client, topic, 1), "subscribe");
    check(MQTTClient_receive(client, &name, &name_bytes, &message, WAIT_MS), "receive");
    if (message == NULL) {
        fprintf(stderr, "no message came\n");
        exit(1);
    }
    printf("%.*s\n", message->payloadlen, (char *)message->payload);
    MQTTClient_freeMessage(&message);
    MQTTClient_free(name);
}

static void publish(MQTTClient client, const char *topic, const char *text)
{
    MQTTClient_deliveryToken token = 0;
    check(MQTTClient_publish(client, topic, (int)strlen(text), text, 1, 0, &token), "publish");
    check(MQTTClient_waitForCompletion(client, token, WAIT_MS), "acknowledgement");
}

static int error_line(const char *text, size_t bytes, void *context)
{
    (void)context;
    fprintf(stderr, "%.*s", (int)bytes, text);
    return 0;
}

int main(int count, char **words)
{
    if (count < 6) {
        fprintf(stderr, "usage: tutorial_paho pub|sub PORT FOLDER USER TOPIC [TEXT]\n");
        return 2;
    }
    const char *folder = words[3], *user = words[4], *topic = words[5];
    char uri[64], ca[512], certificate[512], key[512], passphrase[128], password[128];
    snprintf(uri, sizeof uri, "ssl://localhost:%s", words[2]);
    snprintf(ca, sizeof ca, "%s/m2mqtt_ca.crt", folder);
    snprintf(certificate, sizeof certificate, "%s/%s.crt", folder, user);
    snprintf(key, sizeof key, "%s/%s.key", folder, user);
    snprintf(passphrase, sizeof passphrase, "%s-secret", user);
    snprintf(password, sizeof password, "%s-pw", user);

    MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
    tls.trustStore = ca;
    tls.keyStore = certificate;
    tls.privateKey = key;
    tls.privateKeyPassword = passphrase;
    tls.enableServerCertAuth = 1;
    tls.verify = 1;
    tls.ssl_error_cb = error_line;
    MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
    options.ssl = &tls;
    options.username = user;
    options.password = password;

    MQTTClient client;
    check(MQTTClient_create(&client, uri, user, MQTTCLIENT_PERSISTENCE_NONE, NULL), "create");
    check(MQTTClient_connect(client, &options), "connect");
    if (strcmp(words[1], "pub") == 0)
        publish(client, topic, count > 6 ? words[6] : "");
    else
        receive(client, topic);
    MQTTClient_disconnect(client, 1000);
    MQTTClient_destroy(&client);
    return 0;
}
