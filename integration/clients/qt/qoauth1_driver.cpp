// Drives Qt's QOAuth1 as its documentation says. It talks with the Go test as the Python drivers
// do: see ../python/driver.py.
//
// Build: g++ -fPIC qoauth1_driver.cpp $(pkg-config --cflags --libs Qt6NetworkAuth)

#include <QCoreApplication>
#include <QEventLoop>
#include <QFile>
#include <QHttpMultiPart>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QNetworkAccessManager>
#include <QNetworkReply>
#include <QNetworkRequest>
#include <QOAuth1>
#include <QOAuthHttpServerReplyHandler>
#include <QOAuthOobReplyHandler>
#include <QTimer>
#include <QUrlQuery>
#include <iostream>
#include <string>

static void say(const QJsonObject &object) {
    std::cout << QJsonDocument(object).toJson(QJsonDocument::Compact).toStdString() << std::endl;
}

[[noreturn]] static void fail(const QString &what) {
    std::cerr << what.toStdString() << std::endl;
    std::exit(1);
}

static QJsonObject ask(QJsonObject question) {
    say(question);
    std::string line;
    if (!std::getline(std::cin, line)) fail("the test has gone");
    return QJsonDocument::fromJson(QByteArray::fromStdString(line)).object();
}

// legs gets an access token in three legs.
static void legs(QOAuth1 &oauth, QNetworkAccessManager &manager, const QJsonObject &args) {
    const auto endpoints = args["endpoints"].toObject();
    oauth.setTemporaryCredentialsUrl(QUrl(endpoints["request_token"].toString()));
    oauth.setAuthorizationUrl(QUrl(endpoints["authorize"].toString()));
    oauth.setTokenCredentialsUrl(QUrl(endpoints["access_token"].toString()));
    if (args["callback"].toString() == "oob") {
        oauth.setReplyHandler(new QOAuthOobReplyHandler(&oauth));
    } else {
        // Its callback is a server of its own, on a port of this machine.
        auto handler = new QOAuthHttpServerReplyHandler(QHostAddress::LocalHost, 0, &oauth);
        if (!handler->isListening()) fail("the reply handler does not listen");
        oauth.setReplyHandler(handler);
    }

    QObject::connect(&oauth, &QOAuth1::authorizeWithBrowser, [&](const QUrl &url) {
        const auto answer = ask({{"ask", "authorize"},
                                 {"request_token", oauth.token()},
                                 {"url", QString::fromUtf8(url.toEncoded())}});
        if (answer.contains("redirect")) { // the browser follows the redirect
            manager.get(QNetworkRequest(QUrl::fromEncoded(answer["redirect"].toString().toUtf8())));
        } else {
            oauth.continueGrantWithVerifier(answer["verifier"].toString());
        }
    });
    QEventLoop loop;
    QObject::connect(&oauth, &QOAuth1::granted, &loop, &QEventLoop::quit);
    QObject::connect(&oauth, &QOAuth1::requestFailed, [](QAbstractOAuth::Error error) {
        fail(QString("the request for a token failed: %1").arg(int(error)));
    });
    QTimer::singleShot(60000, [] { fail("no token within a minute"); });
    oauth.grant();
    loop.exec();
}

static QNetworkReply *send(QOAuth1 &oauth, QNetworkAccessManager &manager, const QJsonObject &r) {
    const auto kind = r["kind"].toString();
    const auto url = QUrl::fromEncoded(r["url"].toString().toUtf8());
    if (kind == "query") return oauth.get(url);
    if (kind == "form") {
        QVariantMap form;
        for (const auto &pair : r["form"].toArray())
            form.insert(pair[0].toString(), pair[1].toString());
        return oauth.post(url, form);
    }
    // QOAuth1 only signs a request without a form; the network manager sends it.
    QNetworkRequest request(url);
    if (kind == "multipart") {
        auto body = new QHttpMultiPart(QHttpMultiPart::FormDataType);
        for (const auto &pair : r["form"].toArray()) {
            QHttpPart part;
            part.setHeader(QNetworkRequest::ContentDispositionHeader,
                           QString("form-data; name=\"%1\"").arg(pair[0].toString()));
            part.setBody(pair[1].toString().toUtf8());
            body->append(part);
        }
        for (const auto &file : r["files"].toArray()) {
            QHttpPart part;
            part.setHeader(QNetworkRequest::ContentTypeHeader, file[2].toString());
            part.setHeader(QNetworkRequest::ContentDispositionHeader,
                           QString("form-data; name=\"%1\"; filename=\"%2\"")
                               .arg(file[0].toString(), file[1].toString()));
            part.setBody(file[3].toString().toUtf8());
            body->append(part);
        }
        oauth.prepareRequest(&request, "POST");
        auto reply = manager.post(request, body);
        body->setParent(reply);
        return reply;
    }
    QByteArray body = r["body"].toString().toUtf8();
    if (kind == "upload") {
        QFile file(r["body_file"].toString());
        if (!file.open(QIODevice::ReadOnly)) fail(file.errorString());
        body = file.readAll();
    }
    request.setHeader(QNetworkRequest::ContentTypeHeader, r["content_type"].toString());
    oauth.prepareRequest(&request, "POST", body);
    return manager.post(request, body);
}

int main(int argc, char **argv) {
    QCoreApplication app(argc, argv);
    const auto args = QJsonDocument::fromJson(QByteArray(argc > 1 ? argv[1] : "")).object();
    QNetworkAccessManager manager;
    QOAuth1 oauth(args["consumer"].toString(), args["consumer_secret"].toString(), &manager);
    if (args["method"].toString() == "PLAINTEXT") // the default is HMAC-SHA1
        oauth.setSignatureMethod(QOAuth1::SignatureMethod::PlainText);
    if (args["callback"].toString().isEmpty()) {
        oauth.setTokenCredentials(args["token"].toString(), args["secret"].toString());
    } else {
        legs(oauth, manager, args);
    }
    QJsonArray sent;
    for (const auto &value : args["requests"].toArray()) {
        const auto r = value.toObject();
        auto reply = send(oauth, manager, r);
        QEventLoop loop;
        QObject::connect(reply, &QNetworkReply::finished, &loop, &QEventLoop::quit);
        loop.exec();
        const auto status = reply->attribute(QNetworkRequest::HttpStatusCodeAttribute);
        QJsonObject one{{"name", r["name"]}, {"status", status.toInt()}};
        if (!status.isValid()) one["error"] = reply->errorString();
        sent.append(one);
    }
    const QJsonObject result{
        {"token", oauth.token()}, {"secret", oauth.tokenSecret()}, {"sent", sent}};
    say({{"result", result}});
}
